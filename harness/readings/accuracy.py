"""Accuracy of nearest neighbours by token and depth, as estimates over the same images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays
from harness.artifacts.tables import TOKENS, unpack
from harness.evidence.estimate import Estimate, mean
from harness.evidence.resampling import BLOCKS, DRAWS, HI, LO, SEED, FloatArray, bootstrap_means, pairing_key
from harness.readings.depth import at_depth, blocks_of, without_blocks


def pixel_accuracy(arrays: Arrays) -> float:
    """20-NN accuracy on raw pixels in percent, from a PIXELS artifact."""
    return 100 * float((arrays["vote"] == arrays["label"]).mean())


@dataclass(frozen=True, eq=False)
class Accuracy:
    """For each validation image, whether one model's features classify it correctly; every estimate is in percentage points.

    right: (token, 13, image), by the vote of 20 neighbours after each block (0 to 11) and after the final norm (12); of
    embeddings (token, 1, image), the last alone.
    probe, probe_neighbours: (image,), by the linear probe on the final CLS token and by neighbours in its logits.
    images: digest of the image list; estimates on equal images are paired. tokens: which the model has.
    Raises InvalidInput on other shapes or fewer than two images.
    """

    right: NDArray[np.bool_]
    probe_right: NDArray[np.bool_]
    probe_neighbours_right: NDArray[np.bool_]
    images: str
    tokens: tuple[str, ...] = TOKENS

    def __post_init__(self) -> None:
        n = len(self.probe_right)
        expected = (len(self.tokens), len(BLOCKS) + 1, n)
        if self.right.shape not in (expected, (len(self.tokens), 1, n)) or self.probe_neighbours_right.shape != (n,):
            seen = f"{self.right.shape}, probe {self.probe_right.shape}, {self.probe_neighbours_right.shape}"
            raise InvalidInput("k-NN", field="outcomes", seen=seen, expected=f"{expected}: tokens, blocks and norm, images")
        if n < 2:
            raise InvalidInput("k-NN", field="images", seen=n, expected="at least 2 to resample")

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """From a KNN artifact; of a network of another depth, the blocks at the same share of it."""
        right, probe, neighbours = (arrays[name] == arrays["label"] for name in ("vote", "probe", "probe_vote"))
        chosen = [block for blocks in blocks_of(arrays) for block in at_depth(blocks)]
        tokens = tuple(unpack(arrays["tokens"]))
        return cls(right[:, [*chosen, -1]], probe, neighbours, arrays.provenance.images, tokens)

    def at(self, token: str, block: int) -> Estimate:
        """20-NN accuracy of a token ("cls" or "gap") after a block. Raises MissingArtifact for embeddings, which have none."""
        if not 0 <= block < len(BLOCKS):
            raise InvalidInput("k-NN", field="block", seen=block, expected=f"0 to {len(BLOCKS) - 1}")
        if self._depths == 1:
            raise without_blocks("k-NN by block")
        return self._estimate(self._index(token) + block)

    def final(self, token: str) -> Estimate:
        """20-NN accuracy of a token after the final norm."""
        return self._estimate(self._index(token) + self._depths - 1)

    def fall(self, token: str) -> Estimate:
        """The best of the first blocks minus the last block; the best is chosen on even images and measured on odd ones."""
        choose, judge = self.halves()
        best = max(LO, key=lambda block: choose.at(token, block).value)
        return judge.at(token, best) - judge.at(token, HI[-1])

    def gathered(self) -> Estimate:
        """CLS minus GAP, mean over the last blocks."""
        return mean([self.at("cls", block) - self.at("gap", block) for block in HI])

    def probe(self) -> Estimate:
        """Accuracy of the linear probe on the final CLS token."""
        return self._estimate(-2)

    def probe_neighbours(self) -> Estimate:
        """20-NN accuracy in the logits of the linear probe."""
        return self._estimate(-1)

    def halves(self) -> tuple[Self, Self]:
        """Even and odd images: a maximum is chosen on one half and measured on the other, without selection bias."""
        return self._half(0, "even"), self._half(1, "odd")

    def _half(self, start: int, name: str) -> Self:
        return replace(
            self,
            right=self.right[..., start::2],
            probe_right=self.probe_right[start::2],
            probe_neighbours_right=self.probe_neighbours_right[start::2],
            images=f"{self.images}/{name}",
        )

    def _index(self, token: str) -> int:
        if token not in self.tokens:
            raise InvalidInput("k-NN", field="token", seen=token, expected=f"one of {', '.join(self.tokens)}")
        return self.tokens.index(token) * self._depths

    @property
    def _depths(self) -> int:
        return int(self.right.shape[1])

    def _estimate(self, index: int) -> Estimate:
        outcomes, draws = self._resampled
        own, n = outcomes[index], outcomes.shape[1]
        without = (own.sum() - own) / (n - 1)
        key = pairing_key(self.images, "images", n, DRAWS)
        return Estimate(float(own.mean()), draws[:, index], n, "images", key, without)

    @cached_property
    def _resampled(self) -> tuple[FloatArray, FloatArray]:
        """Outcomes (statistic, image) in percent, and their bootstrap means (draws, statistic), all in one pass."""
        n = len(self.probe_right)
        stacked = [self.right.reshape(-1, n), self.probe_right[None], self.probe_neighbours_right[None]]
        outcomes = 100.0 * np.concatenate(stacked)
        return outcomes, bootstrap_means(outcomes, SEED, DRAWS)
