"""Intersection and union of predicted and true masks, image by image: of all objects, of the background, of objects by size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput


def terciles(owner: NDArray[np.integer]) -> tuple[float, float]:
    """Areas in pixels between small, medium and large objects, a third of them each.

    owner: (n, s, s), which object of an image shows at a pixel, -1 for background. Raises InvalidInput without objects.
    """
    areas = [int((image == j).sum()) for image in owner for j in np.unique(image[image >= 0])]
    if not areas:
        raise InvalidInput("segmentation", field="objects", seen="none", expected="images with objects")
    low, high = np.quantile(areas, [1 / 3, 2 / 3])
    return float(low), float(high)


def overlaps(inside: NDArray[np.bool_], owner: NDArray[np.integer], edges: tuple[float, float]) -> NDArray[np.int64]:
    """(5, 2, n): pixels of the intersection and of the union, of the objects together, of the background, and of small, medium
    and large objects.

    inside: (n, s, s), the predicted mask of objects. owner: (n, s, s). An object's own prediction is what is predicted within
    its bounding box and on no other object. Objects of one size add up over the image.
    """
    if inside.shape != owner.shape or inside.ndim != 3:
        raise InvalidInput("segmentation", field="masks", seen=f"{inside.shape}, {owner.shape}", expected="two of (n, s, s)")
    truth = owner >= 0
    out = np.zeros((5, 2, len(owner)), np.int64)
    for row, (p, t) in enumerate(((inside, truth), (~inside, ~truth))):
        out[row, 0], out[row, 1] = (p & t).sum((1, 2)), (p | t).sum((1, 2))
    for i, (predicted, image) in enumerate(zip(inside, owner, strict=True)):
        for j in np.unique(image[image >= 0]):
            mask = image == j
            ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = np.s_[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
            own, there = mask[box], predicted[box] & ((image[box] == j) | (image[box] < 0))
            row = 2 + int(np.searchsorted(edges, mask.sum()))
            out[row, 0, i] += (own & there).sum()
            out[row, 1, i] += (own | there).sum()
    return out
