from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.artifacts.errors import InvalidInput
from harness.maths.hsic import centred_gram
from harness.maths.similarity import hsic1, in_common, neighbours


def naive_hsic1(x: np.ndarray, y: np.ndarray) -> float:
    """Equation 3 as it is printed."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    one = np.ones(n)
    total = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
    return float(total / (n * (n - 3)))


@settings(max_examples=300, deadline=None)
@given(st.integers(4, 30), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_the_feature_space_form_equals_equation_3(n: int, p: int, q: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = [rng.normal(size=(n, p)) + 3, rng.normal(size=(n, q))]
    y = [rng.normal(size=(n, width)) for width in (q, p, 1)]
    expected = np.array([[naive_hsic1(a, b) for b in y] for a in x])
    np.testing.assert_allclose(hsic1(x, y), expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


def test_it_agrees_with_the_gram_of_minibatches() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1, 32, 7)), rng.normal(size=(1, 32, 5))
    packed = [centred_gram(torch.from_numpy(f), torch.float64).numpy() for f in (x, y)]
    assert hsic1(x, y)[0, 0] == pytest.approx((packed[0] * packed[1]).sum() * 2 / (32 * 29), rel=1e-12)


def test_a_large_offset_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1, 40, 6))
    assert hsic1(x + 1e4, x)[0, 0] == pytest.approx(hsic1(x, x)[0, 0], rel=1e-8)


def test_hsic_refuses_too_few_or_other_images() -> None:
    with pytest.raises(InvalidInput, match="at least 4"):
        hsic1(np.zeros((1, 3, 2)), np.zeros((1, 3, 2)))
    with pytest.raises(InvalidInput, match="5 and 6 images"):
        hsic1(np.zeros((1, 5, 2)), np.zeros((1, 6, 2)))


def naive_in_common(x: np.ndarray, y: np.ndarray, k: int) -> list[int]:
    def near(f: np.ndarray) -> list[set[int]]:
        unit = f / np.linalg.norm(f, axis=1, keepdims=True)
        cosine = unit @ unit.T
        return [set(sorted((j for j in range(len(f)) if j != i), key=lambda j, i=i: -cosine[i, j])[:k]) for i in range(len(f))]

    return [len(a & b) for a, b in zip(near(x), near(y), strict=True)]


@settings(max_examples=100, deadline=None)
@given(st.integers(5, 25), st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_neighbours_in_common_equal_a_naive_loop(n: int, k: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Features of one dimension have cosines of 1 and -1 alone, whose order is nobody's.
    x, y = rng.normal(size=(n, 4)).astype(np.float32), rng.normal(size=(n, 1 + width)).astype(np.float32)
    assert in_common(neighbours(x, k), neighbours(y, k)).tolist() == naive_in_common(x, y, k)


def test_no_image_is_its_own_neighbour() -> None:
    near = neighbours(np.random.default_rng(1).normal(size=(30, 5)), 29)
    assert all(sorted(row) == [j for j in range(30) if j != i] for i, row in enumerate(near.tolist()))


def test_features_have_all_neighbours_in_common_with_themselves_rotated() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(50, 8)).astype(np.float32)
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)
    assert in_common(neighbours(x, 10), neighbours(3 * x @ rotation, 10)).min() == 10


def test_permuted_images_have_in_common_what_chance_gives() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 8)).astype(np.float32)
    share = in_common(neighbours(x, 20), neighbours(x[rng.permutation(400)], 20)).mean() / 20
    # 8,000 draws of a share with mean 20 / 399: six standard errors.
    assert share == pytest.approx(20 / 399, abs=0.015)


def test_k_of_all_images_and_features_without_direction_are_refused() -> None:
    with pytest.raises(InvalidInput, match="below the 5 images"):
        neighbours(np.ones((5, 2)), 5)
    with pytest.raises(InvalidInput, match="norm 0"):
        neighbours(np.zeros((5, 2)), 2)
