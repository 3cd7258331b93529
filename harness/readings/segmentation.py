"""How much of objects' masks a linear read-out finds in a model's patch tokens, as estimates over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays
from harness.artifacts.tables import REGIONS
from harness.evidence.estimate import Estimate, mean
from harness.evidence.resampling import SEED, FloatArray


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Pixels by block, region (REGIONS) and image. intersection, union: (block, region, image). images: digest of the list."""

    intersection: FloatArray
    union: FloatArray
    images: str

    def __post_init__(self) -> None:
        shape = self.union.shape
        if self.intersection.shape != shape or len(shape) != 3 or shape[1] != len(REGIONS):
            seen = f"{self.intersection.shape}, {shape}"
            raise InvalidInput("segmentation", field="pixels", seen=seen, expected=f"(blocks, {len(REGIONS)}, images)")

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """From a SEGMENT artifact."""
        intersection, union = (np.asarray(arrays[name], np.float64) for name in ("intersection", "union"))
        return cls(intersection, union, arrays.provenance.images)

    @property
    def blocks(self) -> int:
        """How many there are."""
        return int(self.union.shape[0])

    def iou(self, region: str, block: int = -1) -> Estimate:
        """Intersection over union of a region after a block: of all its pixels in all images together."""
        if region not in REGIONS:
            raise InvalidInput("segmentation", field="region", seen=region, expected=f"one of {', '.join(REGIONS)}")
        if not -self.blocks <= block < self.blocks:
            raise InvalidInput("segmentation", field="block", seen=block, expected=f"0 to {self.blocks - 1}, or from the end")
        both = (values[block, REGIONS.index(region)] for values in (self.intersection, self.union))
        top, bottom = (Estimate.of_mean(values, seed=SEED, unit="images", key=self.images) for values in both)
        return top.ratio(bottom)

    def mean_iou(self, block: int = -1) -> Estimate:
        """Mean of the objects' and the background's intersection over union."""
        return mean([self.iou("objects", block), self.iou("background", block)])
