"""Rank agreement and F1 against scipy and scikit-learn, and the within-class shift by its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.metrics import f1_score

from harness.artifacts.errors import InvalidInput
from harness.maths.agreement import macro_f1, shifted_within_class, tau_b


def rankings(n: int, k: int, classes: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(classes)[:k] for _ in range(n)])


def by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    """Ranks over the union, what is not ranked at place k + 1."""
    items = sorted(set(a.tolist()) | set(b.tolist()))
    places = [[r.tolist().index(i) if i in r.tolist() else len(r) for i in items] for r in (a, b)]
    return float(kendalltau(*places, variant="b").statistic)


@pytest.mark.parametrize(("k", "classes"), [(5, 10), (10, 10), (5, 1000), (10, 40), (2, 3)])
def test_tau_b_is_scipys_over_the_union_of_the_ranked_classes(k: int, classes: int) -> None:
    a, b = rankings(300, k, classes, 1), rankings(300, k, classes, 2)
    np.testing.assert_allclose(tau_b(a, b), [by_scipy(x, y) for x, y in zip(a, b, strict=True)], atol=1e-12)


@given(st.integers(2, 6), st.integers(6, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_tau_b_is_symmetric_and_turns_with_the_order(k: int, classes: int, seed: int) -> None:
    a, b = rankings(8, k, classes, seed), rankings(8, k, classes, seed + 1)
    tau = tau_b(a, b)
    np.testing.assert_allclose(tau, tau_b(b, a))
    assert (abs(tau) <= 1 + 1e-12).all()
    np.testing.assert_allclose(tau_b(a, a), 1)
    full = rankings(8, classes, classes, seed)
    np.testing.assert_allclose(tau_b(full, full[:, ::-1]), -1)


def test_many_images_in_pieces_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = rankings(50, 5, 10, 1), rankings(50, 5, 10, 2)
    whole = tau_b(a, b)
    monkeypatch.setattr("harness.maths.agreement._BLOCK", 700)
    np.testing.assert_array_equal(tau_b(a, b), whole)
    assert tau_b(a[:0], b[:0]).shape == (0,)


def test_one_class_named_by_both_orders_nothing() -> None:
    assert np.isnan(tau_b(np.array([[3]]), np.array([[3]]))).all()


def test_rankings_that_are_none_are_refused() -> None:
    a = rankings(4, 5, 10, 0)
    with pytest.raises(InvalidInput, match="rankings"):
        tau_b(a, a[:, :4])
    a[2, 1] = a[2, 0]
    with pytest.raises(InvalidInput, match=r"second ranking\n  seen: image 2"):
        tau_b(rankings(4, 5, 10, 1), a)


@pytest.mark.parametrize("seed", range(20))
def test_macro_f1_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answer = rng.integers(7, size=(2, 60))
    assert macro_f1(truth, answer, 9) == pytest.approx(f1_score(truth, answer, average="macro"))
    assert f1_score(truth, answer, average="micro") == pytest.approx((truth == answer).mean())


def test_answers_outside_the_classes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="0 to 3"):
        macro_f1(np.array([0, 4]), np.array([1, 1]), 4)
    with pytest.raises(InvalidInput, match="answers"):
        macro_f1(np.zeros(0, int), np.zeros(0, int), 4)


@pytest.mark.parametrize("by", [1, 3, 7])
def test_a_shift_stays_within_the_class_and_is_a_permutation(by: int) -> None:
    label = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [8, 9, 10, 11, 12]))
    other = shifted_within_class(label, by)
    np.testing.assert_array_equal(label[other], label)
    assert sorted(other.tolist()) == list(range(50))
    assert (other != np.arange(50)).all()


def test_a_class_with_too_few_images_is_refused() -> None:
    with pytest.raises(InvalidInput, match="1 to 2"):
        shifted_within_class(np.array([0, 0, 0, 1, 1, 1, 1]), 3)
