"""Distance of features between an image and a changed one, and between different images."""

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


def between(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Squared distances of features (n, width) of each two images, (n, n)."""
    # Distances do not depend on the origin, and their expansion is exact near it alone.
    x = features.astype(np.float64)
    x = x - x.mean(0)
    norm = (x**2).sum(1)
    distances: NDArray[np.float64] = np.maximum(norm[:, None] + norm[None, :] - 2 * (x @ x.T), 0.0)
    np.fill_diagonal(distances, 0.0)
    return distances


def moved(features: NDArray[np.floating], changed: NDArray[np.floating], distances: NDArray[np.float64] | None = None) -> Moved:
    """Compare features (n, width) with those of the changed images, row by row.

    distances: what `between` gives of the features, where several changes are compared with them.
    Raises InvalidInput for arrays of other shapes and fewer than two images.
    """
    if features.ndim != 2 or features.shape != changed.shape or len(features) < 2:
        seen = f"{features.shape} and {changed.shape}"
        raise InvalidInput("invariance", field="features", seen=seen, expected="two arrays (n, width) of at least 2 images")
    known = between(features) if distances is None else distances
    own = ((features.astype(np.float64) - changed.astype(np.float64)) ** 2).sum(1)
    # An image's distance of 0 to itself is none to another.
    nearer = (known < own[:, None]).sum(1) - (own > 0)
    return Moved(own, known.sum(1) / (len(known) - 1), nearer)
