"""Detections held against objects, image by image and category by category, for boxes and for masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from faster_coco_eval.core import mask
from numpy.typing import NDArray

from harness.data.coco import Instances
from harness.maths.average_precision import IOUS, BoolArray, FloatArray, Matches, match

Kind = Literal["box", "mask"]
# Detections of a category that count in an image (pycocotools' maxDets).
MOST = 100


def matches(
    objects: Sequence[Instances], detections: Sequence[Instances], categories: int, bands: NDArray[np.float64], kind: Kind
) -> list[Matches]:
    """The matches of each category over all images, with detections in falling order of score.

    bands: (band, 2), least and largest area in square pixels, both within the band.
    """
    return [_of_category(objects, detections, category, bands, kind) for category in range(categories)]


def _of_category(
    objects: Sequence[Instances], detections: Sequence[Instances], category: int, bands: NDArray[np.float64], kind: Kind
) -> Matches:
    image, score, matched, uncounted = [], [], [], []
    counted = np.zeros((len(bands), len(objects)), np.int64)
    for i, (there, found) in enumerate(zip(objects, detections, strict=True)):
        own = np.flatnonzero(there.category == category)
        order = np.flatnonzero(found.category == category)
        order = order[np.argsort(-found.score[order], kind="stable")][:MOST]
        ignored = _outside(there.area[own], bands) | there.crowd[own]
        counted[:, i] = (~ignored).sum(1)
        if not len(order):
            continue
        overlap = _overlap(there, own, found, order, kind)
        area = found.box[order, 2] * found.box[order, 3] if kind == "box" else found.area[order]
        hit, skipped = match(overlap, ignored, there.crowd[own], _outside(area, bands))
        image.append(np.full(len(order), i))
        score.append(found.score[order])
        matched.append(hit)
        uncounted.append(skipped)
    if not image:
        nothing = np.zeros((len(bands), len(IOUS), 0), bool)
        return Matches(np.zeros(0, np.int64), nothing, nothing, counted)
    ranked = np.argsort(-np.concatenate(score), kind="stable")
    hits, skips = (np.concatenate(parts, 2)[..., ranked] for parts in (matched, uncounted))
    return Matches(np.concatenate(image)[ranked], hits, skips, counted)


def _outside(area: FloatArray, bands: NDArray[np.float64]) -> BoolArray:
    """(band, k): whether an area lies outside of a band."""
    return (area < bands[:, :1]) | (area > bands[:, 1:])


def _overlap(there: Instances, own: NDArray[np.int64], found: Instances, order: NDArray[np.int64], kind: Kind) -> FloatArray:
    """(d, g) intersection over union; over the detection's own area where the object is a crowd."""
    if not len(own):
        return np.zeros((len(order), 0))
    crowd = there.crowd[own].astype(np.uint8).tolist()
    if kind == "box":
        overlap = mask.iou(found.box[order], there.box[own], crowd)
    else:
        overlap = mask.iou([dict(found.rle[d]) for d in order], [dict(there.rle[g]) for g in own], crowd)
    return np.asarray(overlap, np.float64).reshape(len(order), len(own))
