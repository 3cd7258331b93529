"""How CKA depends on minibatch size and number of images, as estimates (Fig. A1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import CHOOSES, DRAWS, SEED, FloatArray


@dataclass(frozen=True, eq=False)
class Sweep:
    """CKA of some layers by minibatch size and by number of images (Fig. A1), on disjoint sets of images.

    batch, biased: (subset, size, layer), biased with the biased HSIC; count: (subset, images, layer). images: their digest.
    """

    batch: FloatArray
    biased: FloatArray
    count: FloatArray
    images: str

    def __post_init__(self) -> None:
        for field in ("batch", "biased", "count"):
            array = getattr(self, field)
            if array.ndim != 3 or array.shape[1] < 2 or array.shape[::2] != self.batch.shape[::2]:
                expected = f"(subset, size, layer) = ({len(self.batch)}, 2 or more, {self.batch.shape[-1]})"
                raise InvalidInput("sweep", field=field, seen=f"shape {array.shape}", expected=expected)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """From a SWEEP artifact."""
        batch, biased, count = (np.asarray(arrays[name], np.float64) for name in ("batch", "biased", "count"))
        return cls(batch, biased, count, arrays.provenance.images)

    def of_biased_hsic(self) -> Self:
        """The control: the minibatch sweep with the biased HSIC, whose CKA must depend on the size."""
        return replace(self, batch=self.biased)

    def each_change(self) -> list[Estimate]:
        """The change of CKA against the first size, mean over subsets, and its negative: of each layer at each further size."""
        changes = [Estimate.of_mean(x, seed=SEED, unit="subsets", key=self.images, draws=DRAWS) for x in self._changes.T]
        return [signed for change in changes for signed in (change, -change)]

    def split(self) -> tuple[Self, Self]:
        """Every fourth subset, to choose a change on, and the others, to judge it on."""
        chooses = np.arange(len(self.batch)) % CHOOSES == 0
        return self._part(chooses, "choose"), self._part(~chooses, "judge")

    def _part(self, units: NDArray[np.bool_], name: str) -> Self:
        batch, biased, count = (array[units] for array in (self.batch, self.biased, self.count))
        return replace(self, batch=batch, biased=biased, count=count, images=f"{self.images}/{name}")

    @property
    def _changes(self) -> FloatArray:
        """(subset, change): each layer at each further size, less the same layer at the first size."""
        change = np.concatenate([(array - array[:, :1])[:, 1:] for array in (self.batch, self.count)], axis=1)
        return change.reshape(len(change), -1)
