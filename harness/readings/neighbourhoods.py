"""Common nearest neighbours of two models, as estimates: a second measure of their similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays
from harness.artifacts.tables import TOKENS, unpack
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import BLOCKS, DRAWS, SEED, FloatArray
from harness.readings.depth import at_depth


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """Mutual nearest neighbours of two models: share of the neighbours that an image has in common in both.

    share: (token, block, image) in [0, 1], of the tokens that both have, the same block of both models. images: digest of the
    image list. draws: of the bootstrap.
    """

    share: FloatArray
    images: str
    draws: int = DRAWS
    tokens: tuple[str, ...] = TOKENS

    def __post_init__(self) -> None:
        if self.share.ndim != 3 or self.share.shape[:2] != (len(self.tokens), len(BLOCKS)):
            seen, expected = f"shape {self.share.shape}", f"({len(self.tokens)} tokens, {len(BLOCKS)} blocks, images)"
            raise InvalidInput("mutual k-NN", field="share", seen=seen, expected=expected)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """From a SIMILARITY artifact, whose shares are symmetric in the two models."""
        share = np.asarray(arrays["common"], np.float64) / float(arrays["k"][0])
        return cls(share[:, at_depth(share.shape[1])], arrays.provenance.images, tokens=tuple(unpack(arrays["tokens"])))

    def like(self, other: Self) -> Self:
        """The same over the tokens that another has as well."""
        kept = [i for i, token in enumerate(self.tokens) if token in other.tokens]
        if len(kept) == len(self.tokens):
            return self
        return replace(self, share=self.share[kept], tokens=tuple(self.tokens[i] for i in kept))

    def same_depth(self, blocks: Sequence[int] = BLOCKS) -> Estimate:
        """Mean share over tokens and blocks, resampled over images with their neighbourhoods as they are."""
        share = self.share[:, list(blocks)].mean(axis=(0, 1))
        return Estimate.of_mean(share, seed=SEED, unit="images", key=self.images, draws=self.draws)
