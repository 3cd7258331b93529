"""The Fréchet distance against scipy's matrix root and against Gaussians whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from harness.artifacts.errors import InvalidInput
from harness.maths.frechet import frechet


@pytest.mark.parametrize("width", [1, 3, 8])
def test_it_is_what_the_formula_gives(width: int) -> None:
    rng = np.random.default_rng(width)
    a, b = rng.normal(size=(50, width)) @ rng.normal(size=(width, width)), rng.normal(size=(40, width)) + 1
    one, other = (np.cov(x, rowvar=False).reshape(width, width) for x in (a, b))
    root = scipy.linalg.sqrtm(one @ other)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + other - 2 * np.real(root))
    assert frechet(a, b) == pytest.approx(expected, rel=1e-8)


def test_a_shift_counts_squared_and_a_set_is_at_no_distance_from_itself() -> None:
    a = np.random.default_rng(0).normal(size=(30, 4))
    assert frechet(a, a) == pytest.approx(0, abs=1e-10)
    assert frechet(a, a + np.array([3.0, 0, 0, 4.0])) == pytest.approx(25)
    assert frechet(a, 3 * (a - a.mean(0)) + a.mean(0)) == pytest.approx(4 * np.trace(np.cov(a, rowvar=False)))


def test_it_is_symmetric_with_fewer_rows_than_features() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(3, 6)), rng.normal(size=(4, 6))
    assert frechet(a, b) == pytest.approx(frechet(b, a))


@pytest.mark.parametrize("shape", [(5, 3), (1, 2)])
def test_other_shapes_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput, match="Fréchet"):
        frechet(np.zeros((5, 2)), np.zeros(shape))
