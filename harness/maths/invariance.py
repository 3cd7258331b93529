"""How far features move when one thing in the image changes, beside how far apart those of different images are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput


class Moved(NamedTuple):
    """Squared Euclidean distances of n images' features.

    moved: (n,) to the same image changed. others: (n,) to the other images, mean. nearer: (n,) how many of the other images are
    nearer to an image than itself changed.
    """

    moved: NDArray[np.float64]
    others: NDArray[np.float64]
    nearer: NDArray[np.int64]


def moved(features: NDArray[np.floating], changed: NDArray[np.floating]) -> Moved:
    """Compare features (n, width) with those of the changed images, row by row.

    Raises InvalidInput for arrays of other shapes and fewer than two images.
    """
    if features.ndim != 2 or features.shape != changed.shape or len(features) < 2:
        seen = f"{features.shape} and {changed.shape}"
        raise InvalidInput("invariance", field="features", seen=seen, expected="two arrays (n, width) of at least 2 images")
    x, y = features.astype(np.float64), changed.astype(np.float64)
    # Distances do not depend on the origin, and their expansion is exact near it alone.
    centre = x.mean(0)
    x, y = x - centre, y - centre
    own = ((x - y) ** 2).sum(1)
    norm = (x**2).sum(1)
    between = np.maximum(norm[:, None] + norm[None, :] - 2 * (x @ x.T), 0.0)
    np.fill_diagonal(between, np.inf)
    nearer = (between < own[:, None]).sum(1)
    np.fill_diagonal(between, 0.0)
    return Moved(own, between.sum(1) / (len(x) - 1), nearer)
