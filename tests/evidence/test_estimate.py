"""Estimates: the bootstrap against scipy and naive loops, pairing, coverage."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import bootstrap, norm
from scipy.stats import t as student

from harness.artifacts.errors import InvalidInput
from harness.evidence import estimate as module
from harness.evidence.estimate import Estimate, mean
from harness.evidence.resampling import bootstrap_counts, bootstrap_sums

worlds = arrays(np.float64, 8, elements=st.floats(-100, 100, allow_subnormal=False))


def mean_of(data, *, seed=1, draws=400, **options):
    def statistic(weights):
        return weights @ data / weights.sum(axis=1)

    return Estimate.resample(statistic, len(data), seed=seed, draws=draws, unit="images", key="digest", **options)


def constant(value, *, draws=100, n=4):
    return Estimate(value, np.full(draws, value), n, "images", "k", np.full(n, value))


def skewed(n=20, seed=3):
    return np.random.default_rng(seed).lognormal(size=n)


def test_draws_and_jackknife_equal_naive_loops():
    data = skewed()
    estimate = mean_of(data, draws=50)
    for draw, counts in zip(estimate.draws, bootstrap_counts(1, 20, 50), strict=True):
        assert draw == pytest.approx(np.mean([x for x, c in zip(data, counts, strict=True) for _ in range(c)]))
    assert estimate.jackknife == pytest.approx([np.delete(data, i).mean() for i in range(20)])
    assert estimate.value == pytest.approx(data.mean())


@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_interval_equals_scipy_on_the_same_draws(method, level):
    data = skewed()
    estimate = mean_of(data, draws=2000)

    class Replay(np.random.RandomState):
        """Hands scipy the indices that our counts stand for."""

        def randint(self, *args, **kwargs):
            raise AssertionError

        def integers(self, low, high, size, **kwargs):
            return np.array([np.repeat(np.arange(20), c) for c in bootstrap_counts(1, 20, 2000)]).reshape(size)

    def replayed(monkey_rng):
        from scipy.stats import _resampling

        original = _resampling.rng_integers
        _resampling.rng_integers = lambda rng, low, high, size: monkey_rng.integers(low, high, size)
        try:
            name = {"bca": "BCa", "percentile": "percentile"}[method]
            return bootstrap((data,), np.mean, n_resamples=2000, confidence_level=level, method=name, vectorized=True, axis=-1)
        finally:
            _resampling.rng_integers = original

    expected = replayed(Replay())
    assert np.sort(expected.bootstrap_distribution) == pytest.approx(np.sort(estimate.draws))
    assert estimate.interval(level, method, small_sample=False) == pytest.approx(tuple(expected.confidence_interval), rel=1e-9)


def test_counts_are_the_same_everywhere_and_read_only():
    first = bootstrap_counts(7, 5, 30).copy()
    bootstrap_counts.cache_clear()
    assert (bootstrap_counts(7, 5, 30) == first).all()
    assert (first.sum(axis=1) == 5).all()
    assert first.dtype == np.int32
    assert (bootstrap_counts(8, 5, 30) != first).any()
    with pytest.raises(ValueError, match="read-only"):
        bootstrap_counts(7, 5, 30)[0, 0] = 1


def test_blocks_do_not_change_the_result(monkeypatch):
    whole = mean_of(skewed())
    monkeypatch.setattr(module, "BLOCK", 60)
    pieces = mean_of(skewed())
    assert pieces.draws == pytest.approx(whole.draws)
    assert pieces.jackknife == pytest.approx(whole.jackknife)


def test_difference_with_itself_is_exactly_zero():
    estimate = mean_of(skewed())
    zero = estimate - estimate
    assert zero.value == 0
    assert (zero.draws == 0).all()
    assert (zero.jackknife == 0).all()
    assert zero.interval() == (0, 0)


def test_pairing_narrows_the_difference():
    data = skewed(32)
    noise = np.random.default_rng(0).normal(scale=0.01, size=32)
    low, high = (mean_of(data + noise) - mean_of(data)).interval()
    assert high - low < 0.02 < np.subtract(*mean_of(data).interval()[::-1])


@given(worlds, worlds, st.floats(-10, 10))
@settings(max_examples=50, deadline=None)
def test_arithmetic_is_draw_by_draw(x, y, factor):
    a, b = mean_of(x), mean_of(y)
    for got, values in [
        (a + b, x + y),
        (a - b, x - y),
        (a * factor, x * factor),
        (factor * a, x * factor),
        (-a, -x),
        (a / 4, x / 4),
        (mean([a, b]), (x + y) / 2),
    ]:
        expected = mean_of(values)
        assert got.key == a.key
        assert got.value == pytest.approx(expected.value, abs=1e-9)
        np.testing.assert_allclose(got.draws, expected.draws, atol=1e-9)
        np.testing.assert_allclose(got.jackknife, expected.jackknife, atol=1e-9)


@given(worlds, st.sampled_from([-2.0, -1.0, 0.5, 4.0]))
@settings(max_examples=50, deadline=None)
def test_interval_follows_a_change_of_unit(x, factor):
    """Powers of two only: another factor's rounding breaks ties between draws, and ties enter the bias correction."""
    estimate = mean_of(x)
    low, high = sorted(factor * end for end in estimate.interval())
    assert (estimate * factor).interval() == pytest.approx((low, high), abs=1e-9)


@given(worlds, st.sampled_from(["bca", "percentile"]))
@settings(max_examples=50, deadline=None)
def test_wider_levels_contain_narrower_ones(x, method):
    estimate = mean_of(x)
    inner, outer = estimate.interval(0.8, method), estimate.interval(0.95, method)
    assert outer[0] <= inner[0] <= inner[1] <= outer[1]


def test_ratio_is_paired():
    x, y = skewed(), skewed(seed=4)
    a, b = mean_of(x), mean_of(y)
    got = a.ratio(b)
    assert got.value == a.value / b.value
    assert (got.draws == a.draws / b.draws).all()
    assert (got.jackknife == a.jackknife / b.jackknife).all()
    assert (a.ratio(a).draws == 1).all()


def test_ratio_refuses_a_zero_denominator():
    a = constant(1.0)
    with pytest.raises(InvalidInput, match="denominator of 0"):
        a.ratio(a - a)
    with pytest.raises(InvalidInput, match="denominator of 0"):
        a.ratio(Estimate(1.0, np.r_[0.0, np.ones(99)], 4, "images", "k"))
    with pytest.raises(InvalidInput, match="divisor"):
        a / 0


@pytest.mark.parametrize("other", [{"seed": 2}, {"draws": 399}])
def test_unpaired_estimates_do_not_combine(other):
    a, b = mean_of(skewed()), mean_of(skewed(), **other)
    for combine in (a.__sub__, a.__add__, a.ratio, lambda e: mean([a, e])):
        with pytest.raises(InvalidInput, match="unpaired"):
            combine(b)


def test_equal_keys_of_other_shapes_do_not_combine():
    with pytest.raises(InvalidInput, match="unpaired"):
        constant(1.0) - constant(1.0, draws=99)


def test_jackknife_is_lost_when_one_side_lacks_it():
    a, b = mean_of(skewed()), mean_of(skewed(), jackknife=False)
    assert b.jackknife is None
    assert (a - b).jackknife is None
    assert (a - b).interval() == (0, 0)
    assert b.interval() != a.interval()
    assert b.interval(method="percentile") == a.interval(method="percentile")


def test_constant_draws_give_a_degenerate_interval():
    for method in ("bca", "percentile"):
        assert constant(0.3).interval(method=method) == (0.3, 0.3)


def test_value_outside_its_draws_stays_finite():
    draws = np.linspace(0, 1, 101)
    for value in (-5.0, 5.0):
        for jackknife in (None, np.zeros(3), np.array([1e-200, 0, 0])):
            low, high = Estimate(value, draws, 3, "images", "k", jackknife).interval(0.9999)
            assert 0 <= low <= high <= 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_numbers_are_never_dropped(bad):
    with pytest.raises(InvalidInput, match=r"value[\s\S]*finite"):
        Estimate(bad, np.ones(3), 2, "images", "k")
    with pytest.raises(InvalidInput, match=r"draws[\s\S]*index 1"):
        Estimate(1.0, np.array([1, bad, 1]), 2, "images", "k")
    with pytest.raises(InvalidInput, match=r"jackknife[\s\S]*index 0"):
        Estimate(1.0, np.ones(3), 2, "images", "k", np.array([bad, 1]))


@pytest.mark.parametrize(
    ("draws", "n", "jackknife"),
    [(np.ones((2, 2)), 2, None), (np.ones(0), 2, None), (np.ones(3), 2, np.ones(3)), (np.ones(3), 0, None)],
)
def test_wrong_shapes_are_invalid(draws, n, jackknife):
    with pytest.raises(InvalidInput):
        Estimate(1.0, draws, n, "images", "k", jackknife)


def test_arrays_are_copied_and_read_only():
    draws = np.ones(3)
    estimate = Estimate(1.0, draws, 2, "images", "k")
    draws[0] = 9
    assert estimate.draws[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        estimate.draws[0] = 9


def test_resample_refuses_bad_arguments():
    options = {"seed": 0, "unit": "images", "key": "k"}
    with pytest.raises(InvalidInput, match="at least 2 units"):
        Estimate.resample(lambda w: w.sum(axis=1), 1, **options)
    with pytest.raises(InvalidInput, match="draws"):
        Estimate.resample(lambda w: w.sum(axis=1), 3, draws=0, **options)
    with pytest.raises(InvalidInput, match="one value a row"):
        Estimate.resample(lambda w: w, 3, **options)
    with pytest.raises(InvalidInput, match="at least one"):
        mean([])


def test_interval_and_p_value_refuse_bad_arguments():
    estimate = mean_of(skewed())
    for level in (0, 1, math.nan):
        with pytest.raises(InvalidInput, match="level"):
            estimate.interval(level)
    with pytest.raises(InvalidInput, match="bca or percentile"):
        estimate.interval(method="basic")
    with pytest.raises(InvalidInput, match="margin"):
        estimate.p_above(math.nan)


@pytest.mark.parametrize("alpha", [0.01, 0.025, 0.1, 0.5])
def test_p_value_inverts_the_interval(alpha):
    estimate = mean_of(np.random.default_rng(2).normal(size=20), draws=20000)
    low, high = estimate.interval(1 - 2 * alpha) if alpha < 0.5 else (None, None)
    if alpha == 0.5:
        low = high = estimate.interval(1e-9)[0]
    assert estimate.p_above(low) == pytest.approx(alpha, abs=2e-3)
    assert (-estimate).p_above(-high) == pytest.approx(alpha, abs=2e-3)


def test_p_value_at_the_ends():
    estimate = mean_of(skewed(), draws=99)
    assert estimate.p_above(-1e9) == pytest.approx(0.01)
    assert estimate.p_above(1e9) == 1
    tied = constant(2.0, draws=99)
    assert [tied.p_above(m) for m in (1, 2, 3)] == [0.01, 1, 1]
    assert tied.p_above(2, or_equal=True) == 0.01


@given(worlds, st.floats(-100, 100), st.floats(0, 10))
@settings(max_examples=50, deadline=None)
def test_p_value_rises_with_the_margin(x, margin, step):
    estimate = mean_of(x)
    assert estimate.p_above(margin) <= estimate.p_above(margin + step)
    assert 1 / 401 <= estimate.p_above(margin, or_equal=True) <= estimate.p_above(margin) <= 1


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_coverage_is_calibrated(method):
    rng = np.random.default_rng(11)
    intervals = np.array([mean_of(rng.normal(size=32), draws=1000).interval(method=method) for _ in range(1000)])
    covered = np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_small_sample_widening_equals_the_textbook_at_the_expanded_level(level):
    estimate = mean_of(skewed())
    z = math.sqrt(20 / 19) * student.ppf((1 + level) / 2, 19)
    assert estimate.interval(level) == pytest.approx(estimate.interval(2 * norm.cdf(z) - 1, small_sample=False))


def test_a_single_unit_has_no_small_sample_correction():
    single = Estimate(0.5, np.linspace(0, 1, 101), 1, "images", "k")
    assert single.interval() == single.interval(small_sample=False)
    assert single.p_above(0.5) == pytest.approx(0.5, abs=0.02)


def test_bca_corrects_a_skewed_statistic():
    """The variance's percentile interval misses upwards; BCa's upper end lies higher."""
    data = norm.ppf((np.arange(24) + 0.5) / 24)

    def variance(weights):
        share = weights / weights.sum(axis=1, keepdims=True)
        return share @ data**2 - (share @ data) ** 2

    estimate = Estimate.resample(variance, 24, seed=0, unit="images", key="k")
    assert estimate.interval()[1] > estimate.interval(method="percentile")[1]


@pytest.mark.parametrize("subset", [False, True])
@pytest.mark.parametrize("n", [7, 300])
def test_a_mean_over_counted_units_is_the_statistic_of_their_weights(n: int, subset: bool) -> None:
    rng = np.random.default_rng(n)
    values, counted = rng.normal(size=n), (rng.uniform(size=n) < 0.7).astype(float)
    counted[:3] = 1
    counted = counted if subset else np.ones(n)
    fast = Estimate.of_mean(values, counted if subset else None, seed=3, unit="images", key="k", draws=200)
    slow = Estimate.resample(lambda w: (w @ (counted * values)) / (w @ counted), n, seed=3, unit="images", key="k", draws=200)
    assert (fast.n, fast.unit, fast.key) == (slow.n, slow.unit, slow.key)
    assert fast.value == pytest.approx(slow.value, rel=1e-12)
    np.testing.assert_allclose(fast.draws, slow.draws, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(fast.jackknife, slow.jackknife, rtol=1e-12, atol=1e-14)
    assert (fast - slow).value == pytest.approx(0, abs=1e-14)


def test_a_mean_of_one_draw_is_a_value_alone_and_of_no_unit_is_refused() -> None:
    bare = Estimate.of_mean(np.arange(5.0), seed=0, unit="images", key="k", draws=1)
    assert (bare.value, bare.jackknife, len(bare.draws)) == (2.0, None, 1)
    with pytest.raises(InvalidInput, match="finite"):
        Estimate.of_mean(np.arange(5.0), np.zeros(5), seed=0, unit="images", key="k")
    with pytest.raises(InvalidInput, match="at least 2 units"):
        Estimate.of_mean(np.ones(1), seed=0, unit="images", key="k")


@pytest.mark.parametrize("values", [np.arange(60.0).reshape(20, 3) % 2, np.random.default_rng(0).normal(size=(20, 3))])
def test_bootstrap_sums_are_those_of_the_counts_bit_for_bit_where_they_are_whole(values):
    counts = bootstrap_counts(3, 20, 50).astype(float)
    found = bootstrap_sums(values, 3, 50)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, counts @ values, rtol=1e-12, atol=1e-12)
    if (values == np.rint(values)).all():
        assert (found == counts @ values).all()


def test_whole_numbers_that_float32_cannot_hold_are_summed_in_float64():
    values = np.full((20, 1), 2.0**23 + 1)
    assert (bootstrap_sums(values, 0, 5) == 20 * (2.0**23 + 1)).all()
