from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.artifacts.errors import InvalidInput
from harness.maths.overlap import overlaps, terciles


def naive(inside: np.ndarray, owner: np.ndarray, edges: tuple[float, float]) -> np.ndarray:
    """Pixel by pixel."""
    n, s, _ = owner.shape
    out = np.zeros((5, 2, n), int)
    for i in range(n):
        for y in range(s):
            for x in range(s):
                predicted, truth = bool(inside[i, y, x]), owner[i, y, x] >= 0
                out[0, 0, i] += predicted and truth
                out[0, 1, i] += predicted or truth
                out[1, 0, i] += not predicted and not truth
                out[1, 1, i] += not predicted or not truth
        for j in set(owner[i][owner[i] >= 0].tolist()):
            own = [(y, x) for y in range(s) for x in range(s) if owner[i, y, x] == j]
            (top, bottom), (left, right) = ((min(part), max(part)) for part in zip(*own, strict=True))
            row = 2 + sum(len(own) > edge for edge in edges)
            for y in range(top, bottom + 1):
                for x in range(left, right + 1):
                    mine, another = owner[i, y, x] == j, owner[i, y, x] not in (j, -1)
                    out[row, 0, i] += mine and inside[i, y, x]
                    out[row, 1, i] += mine or (inside[i, y, x] and not another)
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(3, 7), st.integers(0, 2**32 - 1))
def test_pixels_are_those_that_a_loop_counts(n: int, s: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    owner, inside = rng.integers(-1, 3, (n, s, s)), rng.uniform(size=(n, s, s)) < 0.4
    edges = (s * s / 6, s * s / 4)
    np.testing.assert_array_equal(overlaps(inside, owner, edges), naive(inside, owner, edges))


def test_the_truth_overlaps_wholly_and_its_opposite_not_at_all() -> None:
    owner = np.full((2, 8, 8), -1)
    owner[:, 1:3, 1:3], owner[:, 4:8, 4:8] = 0, 1
    edges = (6.0, 10.0)
    right, wrong = overlaps(owner >= 0, owner, edges), overlaps(owner < 0, owner, edges)
    assert (right[:, 0] == right[:, 1]).all()
    assert not wrong[:, 0].any()
    # Of small and large objects; there is no medium one.
    assert right[2:, 1, 0].tolist() == [4, 0, 16]


def test_terciles_divide_the_objects_and_not_the_pixels() -> None:
    owner = np.full((1, 10, 10), -1)
    for j, side in enumerate((1, 2, 3)):
        owner[0, 3 * j : 3 * j + side, :side] = j
    low, high = terciles(owner)
    assert 1 < low < 4 < high < 9
    with pytest.raises(InvalidInput, match="images with objects"):
        terciles(np.full((2, 4, 4), -1))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="masks"):
        overlaps(np.zeros((1, 4, 4), bool), np.zeros((2, 4, 4), int), (1.0, 2.0))
