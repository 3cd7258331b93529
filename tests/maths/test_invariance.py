from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.artifacts.errors import InvalidInput
from harness.maths.invariance import moved


def naive(x: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float], list[int]]:
    """Image by image, with loops."""
    n = len(x)
    own = [float(sum((a - b) ** 2 for a, b in zip(x[i], y[i], strict=True))) for i in range(n)]
    between = [[float(((x[i] - x[j]) ** 2).sum()) for j in range(n) if j != i] for i in range(n)]
    return own, [sum(row) / (n - 1) for row in between], [sum(d < own[i] for d in row) for i, row in enumerate(between)]


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_distances_are_those_of_loops(n: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, n, width)) + 5
    found, (own, others, nearer) = moved(x, y), naive(x, y)
    np.testing.assert_allclose(found.moved, own, rtol=1e-9)
    np.testing.assert_allclose(found.others, others, rtol=1e-9)
    assert found.nearer.tolist() == nearer


def test_what_does_not_move_is_invariant_and_other_images_are_as_far_as_other_images() -> None:
    x = np.random.default_rng(0).normal(size=(400, 8))
    still = moved(x, x)
    assert not still.moved.any()
    assert not still.nearer.any()
    # In the place of the changed image another one: as far as another image, and as often nearer as not.
    another = moved(x, np.roll(x, 1, axis=0))
    assert another.moved.mean() / another.others.mean() == pytest.approx(1, abs=0.1)
    assert another.nearer.mean() / 399 == pytest.approx(0.5, abs=0.05)


def test_neither_the_origin_nor_the_scale_matters() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 50, 4))
    one, other = moved(x, y), moved(3 * x + 100, 3 * y + 100)
    np.testing.assert_allclose(other.moved / other.others, one.moved / one.others, rtol=1e-9)
    assert (other.nearer == one.nearer).all()


@pytest.mark.parametrize(("x", "y"), [((3, 2), (3, 3)), ((3, 2), (4, 2)), ((1, 2), (1, 2)), ((3,), (3,))])
def test_other_shapes_are_refused(x: tuple[int, ...], y: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="invariance"):
        moved(np.zeros(x), np.zeros(y))
