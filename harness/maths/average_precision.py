"""COCO's average precision: matching of detections with objects, and AP under any weights of the images.

The definitions are those of pycocotools' COCOeval. Weights make AP resampleable: an image that is drawn twice counts twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Thresholds of the intersection over union, and recalls at which precision is read (pycocotools' Params).
IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)


def match(iou: FloatArray, ignored: BoolArray, crowd: BoolArray, outside: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Which detections of one category in one image match an object, and which do not count.

    iou: (d, g), detections in falling order of score. ignored: (band, g), objects outside the band of areas, and crowds. crowd:
    (g,), regions that any number of detections may match. outside: (band, d), detections whose area is outside the band.
    Returns matched and uncounted, (band, IOUS, d). A detection takes the free object of the largest overlap, one that counts
    before one that does not; unmatched ones outside the band do not count.
    """
    bands, objects = ignored.shape
    detections = len(iou)
    matched = np.zeros((bands, len(IOUS), detections), bool)
    uncounted = np.zeros_like(matched)
    taken = np.zeros((bands, len(IOUS), objects), bool)
    counts = ~ignored[:, None]
    least = np.minimum(IOUS, 1 - 1e-10)[:, None]
    for d in range(detections if objects else 0):
        free = (iou[d] >= least) & (~taken | crowd)
        first = free & counts
        # Of equal overlaps the last object, as pycocotools' loop leaves it.
        choice = np.where(first.any(2)[..., None], first, free & ~counts)
        overlap = np.where(choice, iou[d], -1.0)[..., ::-1]
        best = objects - 1 - overlap.argmax(2)
        found = choice.any(2)
        matched[..., d] = found
        uncounted[..., d] = found & ignored[np.arange(bands)[:, None], best]
        band, threshold = np.nonzero(found)
        taken[band, threshold, best[band, threshold]] = True
    uncounted |= ~matched & outside[:, None]
    return matched, uncounted


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of one category over all images, in falling order of score.

    image: (n,) index of the image. matched, uncounted: (band, IOUS, n), as `match` gives them. objects: (band, image), how many
    objects count.
    """

    image: NDArray[np.int64]
    matched: BoolArray
    uncounted: BoolArray
    objects: NDArray[np.int64]


def average_precision(matches: Matches, weights: FloatArray, band: int) -> FloatArray:
    """AP of one category in one band at each threshold, (r, IOUS), for each row of the image weights (r, image).

    NaN where no object counts.
    """
    positives = weights @ matches.objects[band]
    # Resamples lie innermost in memory, so that a detection is added to all of them at once: a tenth of the time of cumsum.
    of_detection = weights.T[matches.image]
    result = np.empty((len(weights), len(IOUS)))
    for t in range(len(IOUS)):
        counted = ~matches.uncounted[band, t]
        # Precision is read where recall rises, which is at matches alone.
        hit = matches.matched[band, t] & counted
        seen, true = np.zeros((2, len(weights)))
        precision, recall = np.zeros((2, int(hit.sum()), len(weights)))
        last = 0
        for i in np.flatnonzero(counted):
            seen += of_detection[i]
            if hit[i]:
                true += of_detection[i]
                np.divide(true, seen, out=precision[last], where=seen > 0)
                np.divide(true, positives, out=recall[last], where=positives > 0)
                last += 1
        for later in range(len(precision) - 1, 0, -1):
            np.maximum(precision[later - 1], precision[later], out=precision[later - 1])
        covered = np.searchsorted(RECALLS, recall, side="right")
        # A match in an image that is not drawn raises no recall.
        fresh = np.diff(covered, axis=0, prepend=0)
        result[:, t] = (precision * fresh).sum(0) / len(RECALLS)
    result[positives == 0] = np.nan
    return result
