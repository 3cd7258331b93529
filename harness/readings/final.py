"""Similarity of two models' pre-logits, as estimates: the only similarity of embeddings, which have no layers.

Of a network it is the CLS token after the final norm, of one without CLS token the pooled maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays
from harness.artifacts.tables import unpack
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import BLOCKS, DRAWS, SEED, FloatArray


@dataclass(frozen=True, eq=False)
class Final:
    """One measure of two models' final features.

    statistic: weights (resample, unit) to its value in each resample. images: digest of the image list; pairs on equal images
    are paired. draws: of the bootstrap; one is enough where only values are asked for.
    """

    statistic: Callable[[FloatArray], FloatArray]
    n: int
    unit: str
    images: str
    draws: int = DRAWS

    @classmethod
    def cka(cls, arrays: Arrays, names: tuple[str, str]) -> Self:
        """Debiased CKA over disjoint subsets of the images, from a FINAL artifact.

        Raises InvalidInput when the features of a model do not vary over the images.
        """
        columns = [np.asarray(arrays[name], np.float64) for name in ("cross", "self_a", "self_b")]
        return cls._debiased(columns, names, arrays.provenance.images)

    @classmethod
    def of_snapshot(cls, arrays: Arrays, snapshot: int, to: str) -> Self:
        """The same of a snapshot of fine-tuning and one of what a DRIFT artifact compares it with.

        Raises InvalidInput for a snapshot or a name that it does not have.
        """
        names, last = unpack(arrays["to"]), len(arrays["self_snapshot"][0]) - 1
        if to not in names:
            raise InvalidInput("drift", field="to", seen=to, expected=f"one of {', '.join(names)}")
        if not 0 <= snapshot <= last:
            raise InvalidInput("drift", field="snapshot", seen=snapshot, expected=f"0 to {last}")
        other = names.index(to)
        columns = (arrays["cross"][:, snapshot, other], arrays["self_snapshot"][:, snapshot], arrays["self_to"][:, other])
        numbers = [np.asarray(column, np.float64) for column in columns]
        return cls._debiased(numbers, (f"snapshot {snapshot}", to), arrays.provenance.images)

    @classmethod
    def _debiased(cls, columns: Sequence[FloatArray], names: tuple[str, str], images: str) -> Self:
        cross, self_a, self_b = columns

        def value(weights: FloatArray) -> FloatArray:
            own_a, own_b = weights @ self_a, weights @ self_b
            if not ((own_a > 0).all() and (own_b > 0).all()):
                expected = "features that vary over the images"
                title = f"CKA of the pre-logits of {names[0]} and {names[1]}"
                raise InvalidInput(title, field="self-HSIC", seen="not positive in every resample", expected=expected)
            ratio: FloatArray = weights @ cross / np.sqrt(own_a * own_b)
            return ratio

        return cls(value, len(cross), "subsets", images)

    @classmethod
    def neighbours(cls, arrays: Arrays) -> Self:
        """Share of the nearest neighbours that an image has in common in both, from a FINAL artifact."""
        share = np.asarray(arrays["common"], np.float64) / float(arrays["k"][0])
        return cls(lambda weights: weights @ share / len(share), len(share), "images", arrays.provenance.images)

    def values_only(self) -> Self:
        """The same without draws."""
        return replace(self, draws=1)

    def same_depth(self, blocks: Sequence[int] = BLOCKS) -> Estimate:
        """The similarity of the pre-logits, whichever blocks are asked for."""
        return Estimate.resample(self.statistic, self.n, seed=SEED, unit=self.unit, key=self.images, draws=self.draws)

    def like(self, other: Self) -> Self:
        """Itself, since every model has pre-logits."""
        return self
