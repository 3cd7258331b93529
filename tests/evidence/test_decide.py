"""Decisions: each state by construction, error rates by simulation."""

import math
from unittest.mock import patch

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from harness.artifacts.errors import InvalidInput
from harness.evidence.decide import Decision, State, all_of, below, equivalent, exceeds, holm
from harness.evidence.estimate import Estimate

CENTRED = (np.arange(40) - 19.5) / 11.543  # standard deviation 1: the mean's standard error is 0.158


def around(value, *, data=CENTRED, draws=2000, seed=0):
    shifted = data + value
    return Estimate.resample(lambda w: w @ shifted / len(shifted), len(shifted), seed=seed, draws=draws, unit="images", key="k")


def numberless(state):
    return Decision(state, None, None, None, None, None, f"because {state}")


@pytest.mark.parametrize(
    ("value", "state"), [(2.0, "SUPPORTED"), (1.1, "INCONCLUSIVE"), (0.9, "INCONCLUSIVE"), (0.0, "REFUTED")]
)
def test_exceeds_and_below_mirror(value, state):
    above, under = exceeds(around(value), 1.0), below(around(-value), -1.0)
    assert above.state == under.state == state
    assert above.interval == pytest.approx((-under.interval[1], -under.interval[0]), abs=0.03)
    assert above.estimate == pytest.approx(value)
    assert (above.margin, above.n, above.unit) == (1.0, 40, "images")
    assert "claimed above 1" in above.reason
    assert "n = 40 images" in above.reason
    assert "claimed below -1" in under.reason


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (0.0, "SUPPORTED"),
        (0.6, "SUPPORTED"),
        (0.95, "INCONCLUSIVE"),
        (-0.95, "INCONCLUSIVE"),
        (2.0, "REFUTED"),
        (-2.0, "REFUTED"),
    ],
)
def test_equivalent(value, state):
    decision = equivalent(around(value), 1.0)
    assert decision.state == state
    assert "90% interval" in decision.reason


def test_equivalence_supports_by_the_90_interval_and_refutes_by_the_95():
    low90, low95 = around(0.0).interval(0.9)[0], around(0.0).interval()[0]
    between = (abs(low90) + abs(low95)) / 2
    assert equivalent(around(1 - between), 1.0).state == "SUPPORTED"
    assert equivalent(around(1 + between), 1.0).state == "INCONCLUSIVE"


def test_an_equivalence_that_so_few_units_could_never_support_is_uncalibrated_unless_refuted():
    width = np.subtract(*around(0.0).interval(0.9)[::-1])
    assert equivalent(around(0.0), 0.6 * width).state == "SUPPORTED"
    decision = equivalent(around(0.0), 0.49 * width)
    assert decision.state == "UNCALIBRATED"
    assert (decision.estimate, decision.interval, decision.direction) == (around(0.0).value, around(0.0).interval(), "within")
    assert "40 images is wider than what is called equal" in decision.reason
    assert equivalent(around(2.0), 0.49 * width).state == "REFUTED"


def test_the_excess_is_the_distance_beyond_the_margin_on_the_claimed_side():
    assert exceeds(around(0.7), 0.5).excess == pytest.approx(0.2)
    assert below(around(0.7), 0.5).excess == pytest.approx(-0.2)
    assert equivalent(around(-0.2), 0.5).excess == pytest.approx(0.3)
    assert equivalent(around(-0.7), 0.5).excess == pytest.approx(-0.2)
    parts = [exceeds(around(2.0), 0.5), exceeds(around(0.7), 0.5), below(around(0.0), 1.0)]
    assert all_of(parts).excess == pytest.approx(0.2)
    # The strongest refutation decides, and its excess need not be the least.
    mixed = [exceeds(around(0.0), 0.5), exceeds(around(-0.1), 0.5, level=0.5)]
    assert all_of(mixed).excess == pytest.approx(-0.6)


def test_exactly_at_the_margin_is_not_beyond_it():
    same = around(0.3) - around(0.3)
    assert exceeds(same, 0.0).state == "REFUTED"
    assert below(same, 0.0).state == "REFUTED"
    assert equivalent(same, 0.1).state == "SUPPORTED"
    assert exceeds(same, 0.0).p_refute == pytest.approx(1 / 2001)


@pytest.mark.parametrize(
    ("rule", "value"), [(exceeds, 2.0), (below, 0.0), (equivalent, 0.0), (exceeds, 0.0), (equivalent, 3.0)]
)
def test_a_decision_that_hangs_on_one_unit_is_inconclusive(rule, value):
    estimate = around(value)
    jackknife = estimate.jackknife.copy()
    jackknife[17] = 0.25 if value >= 2 else 1.75
    fragile = Estimate(estimate.value, estimate.draws, estimate.n, estimate.unit, estimate.key, jackknife)
    assert rule(estimate, 1.0).state in ("SUPPORTED", "REFUTED")
    decision = rule(fragile, 1.0)
    assert decision.state == "INCONCLUSIVE"
    assert f"without number 17 it is {jackknife[17]:.4g}" in decision.reason


def test_without_jackknife_there_is_no_guard():
    estimate = around(2.0)
    bare = Estimate(estimate.value, estimate.draws, estimate.n, estimate.unit, estimate.key)
    assert exceeds(bare, 1.0).state == "SUPPORTED"


@pytest.mark.parametrize("rule", [exceeds, below, equivalent])
def test_bad_margins_and_levels(rule):
    for margin in (math.nan, math.inf):
        with pytest.raises(InvalidInput, match="margin"):
            rule(around(0.0), margin)
    for level in (0.0, 1.0, math.nan):
        with pytest.raises(InvalidInput, match="level"):
            rule(around(0.0), 1.0, level)


def test_equivalence_needs_a_positive_margin_and_a_level_above_one_half():
    with pytest.raises(InvalidInput, match="positive"):
        equivalent(around(0.0), 0.0)
    with pytest.raises(InvalidInput, match="level"):
        equivalent(around(0.0), 1.0, 0.5)


def parts(*values):
    return [exceeds(around(value), 1.0) for value in values]


@pytest.mark.parametrize(
    ("values", "state", "decider"),
    [((1.45, 3), "SUPPORTED", 0), ((2, 1.1), "INCONCLUSIVE", 1), ((1.1, 0), "REFUTED", 1), ((2, 0, 1), "REFUTED", 1)],
)
def test_all_of(values, state, decider):
    made = parts(*values)
    decision = all_of(made)
    assert decision.state == state
    assert decision.estimate == made[decider].estimate
    assert f"decided by part {decider + 1} of {len(values)}" in decision.reason
    assert all(part.reason in decision.reason for part in made)
    assert decision.p_support == max(part.p_support for part in made)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p):
    # statsmodels collects garbage at every call, which takes a tenth of a second where torch is loaded.
    with patch("gc.collect"):
        npt.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12)


def test_a_weak_refutation_does_not_survive_holm_over_many_parts():
    spread = -around(0.0).interval()[0]
    weak = exceeds(around(1 - 1.1 * spread), 1.0)
    assert weak.state == "REFUTED"
    assert 0.0125 < weak.p_refute < 0.025
    assert all_of([weak]) is weak
    decision = all_of([weak, *parts(2)])
    assert decision.state == "INCONCLUSIVE"
    assert decision.p_refute == pytest.approx(2 * weak.p_refute)


def test_a_guarded_part_does_not_refute():
    estimate = around(0.0)
    fragile = Estimate(estimate.value, estimate.draws, 40, "images", "k", np.r_[9.0, estimate.jackknife[1:]])
    assert all_of([exceeds(fragile, 1.0), *parts(2)]).state == "INCONCLUSIVE"


def test_rules_nest():
    assert all_of([all_of(parts(2, 3)), all_of(parts(0, 2))]).state == "REFUTED"


@pytest.mark.parametrize("state", ["MISSING", "INVALID", "UNCALIBRATED", "NO_EVIDENCE"])
def test_no_number_decides_over_a_part_without_one(state):
    part = numberless(State(state))
    assert all_of([*parts(0), part]) is part
    assert all_of([part, numberless(State.INVALID)]).state == "INVALID"


def test_all_of_refuses_bad_arguments():
    with pytest.raises(InvalidInput, match="at least one"):
        all_of([])
    with pytest.raises(InvalidInput, match="level"):
        all_of(parts(2, 3), math.nan)
    with pytest.raises(InvalidInput, match="p_support"):
        all_of([*parts(2), Decision(State.SUPPORTED, 1.0, (1.0, 1.0), 0.0, 3, "seeds", "by hand")])


@given(st.floats(-3, 3), st.floats(0.1, 2))
@settings(max_examples=40, deadline=None)
def test_no_two_opposite_claims_are_both_supported(value, margin):
    estimate = around(value, draws=400)
    states = [rule(estimate, margin).state for rule in (exceeds, below, equivalent)]
    assert states[:2].count("SUPPORTED") <= 1
    assert not (states[0] == "SUPPORTED" and states[2] == "SUPPORTED")
    assert (states[0] == "SUPPORTED") <= (states[1] == "REFUTED")


@given(st.floats(-3, 3), st.floats(-2, 2), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_higher_margin_never_helps(value, margin, step):
    order = ["REFUTED", "INCONCLUSIVE", "SUPPORTED"]
    estimate = around(value, draws=400)
    assert order.index(exceeds(estimate, margin + step).state) <= order.index(exceeds(estimate, margin).state)


@pytest.mark.parametrize(("rule", "truth"), [(exceeds, 1.0), (below, 1.0), (equivalent, 1.0), (equivalent, -1.0)])
def test_false_decisions_are_rare_at_the_margin(rule, truth):
    rng = np.random.default_rng(5)
    states = [rule(around(truth, data=rng.normal(size=32), draws=500), 1.0).state for _ in range(600)]
    false_support = states.count("SUPPORTED") / len(states)
    # An equivalence is tested at 5 %, the others at 2.5 %: two standard errors of 600 worlds are added.
    assert false_support <= (0.07 if rule is equivalent else 0.05)
    assert states.count("REFUTED") / len(states) <= 0.05


def test_conjunctions_rarely_refute_falsely():
    """Four unpaired parts, each exactly at its margin: Holm keeps the false refutations near one part's."""
    rng = np.random.default_rng(6)
    refuted = [
        all_of([exceeds(around(1.0, data=rng.normal(size=32), draws=500), 1.0) for _ in range(4)]).state == "REFUTED"
        for _ in range(150)
    ]
    assert np.mean(refuted) <= 0.05
