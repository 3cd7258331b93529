"""Common nearest neighbours of two models, as estimates: a second measure of their similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays
from harness.evidence.depth import at_depth
from harness.evidence.estimate import Estimate, FloatArray
from harness.evidence.resampling import BLOCKS, DRAWS, SEED


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """Mutual nearest neighbours of two models: share of the neighbours that an image has in common in both.

    share: (block, image) in [0, 1], CLS and GAP averaged, the same block of both models. images: digest of the image list.
    draws: of the bootstrap.
    """

    share: FloatArray
    images: str
    draws: int = DRAWS

    def __post_init__(self) -> None:
        if self.share.ndim != 2 or len(self.share) != len(BLOCKS):
            seen, expected = f"shape {self.share.shape}", f"({len(BLOCKS)} blocks, images)"
            raise InvalidInput("mutual k-NN", field="share", seen=seen, expected=expected)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """From a SIMILARITY artifact, whose shares are symmetric in the two models."""
        share = np.asarray(arrays["mutual_image"], np.float64).mean(axis=0)
        return cls(share[at_depth(len(share))], arrays.provenance.images)

    def same_depth(self, blocks: Sequence[int] = BLOCKS) -> Estimate:
        """Mean share over the blocks, resampled over images with their neighbourhoods as they are."""
        share = self.share[list(blocks)].mean(axis=0)
        n = len(share)
        return Estimate.resample(lambda w: w @ share / n, n, seed=SEED, unit="images", key=self.images, draws=self.draws)
