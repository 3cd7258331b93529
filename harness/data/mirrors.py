"""An image and its mirror images: the candidates for what a sample shows where features do not encode left and right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data import images
from harness.data.changes import changed
from harness.params.images import ScenesData

# The scene; its mirror image; the scene with the object mirrored where it is; and the object as it is at the mirrored place.
CANDIDATES = ("source", "mirror", "object", "place")


def candidates(data: ScenesData, count: int, seed: int) -> NDArray[np.uint8]:
    """(candidate, count, s, s, 3) of the first validation images, in the order of CANDIDATES.

    Raises InvalidInput for scenes of several objects.
    """
    every = np.arange(count)
    source = images.load(data, "validation", count, seed).read(every)
    turned = changed(data, "validation", count, seed, "orientation").read(every)
    return np.stack([source, source[:, :, ::-1], turned, turned[:, :, ::-1]])


def asymmetry(made: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n,) of candidates (c, n, s, s, 3): the least squared distance between two of an image's, over that of two images."""
    flat = made.reshape(*made.shape[:2], -1).astype(np.float64)
    pairs = [(i, j) for i in range(len(flat)) for j in range(i)]
    least = np.min([((flat[i] - flat[j]) ** 2).mean(1) for i, j in pairs], axis=0)
    # Twice the variance over images is the mean squared distance of two of them.
    ratio: NDArray[np.float64] = least / (2 * flat[0].var(0, ddof=1).mean())
    return ratio


def distances(samples: NDArray[np.uint8], made: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, m, c) mean squared differences of pixels: of samples (n, m, s, s, 3) from the candidates (c, n, s, s, 3)."""
    own = samples.reshape(*samples.shape[:2], -1).astype(np.float32)
    others = made.reshape(*made.shape[:2], -1).astype(np.float32)
    return np.stack([((own - other[:, None]) ** 2).mean(2) for other in others], 2)
