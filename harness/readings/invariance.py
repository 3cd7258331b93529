"""How invariant a model's features are to one change of the image, as estimates over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.store import Arrays
from harness.artifacts.tables import unpack
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import DRAWS, SEED, FloatArray


@dataclass(frozen=True, eq=False)
class Invariance:
    """Squared distances of a model's features after the final norm, image by image, in units of the mean between two images.

    changes, tokens: what the axes are. moved: (change, token, image) to the same image changed. others: (token, image) to the
    other images, mean. nearest: (change, token, image) in {0, 1}, whether no other image is nearer than the changed one.
    images: digest of the image list; estimates on equal images are paired. draws: of the bootstrap.
    """

    changes: tuple[str, ...]
    tokens: tuple[str, ...]
    moved: FloatArray
    others: FloatArray
    nearest: FloatArray
    images: str
    draws: int = DRAWS

    def __post_init__(self) -> None:
        shape = (len(self.changes), len(self.tokens))
        n = self.others.shape[-1]
        if self.moved.shape != (*shape, n) or self.nearest.shape != (*shape, n) or self.others.shape != (shape[1], n):
            seen = f"{self.moved.shape}, {self.nearest.shape}, {self.others.shape}"
            raise InvalidInput("invariance", field="distances", seen=seen, expected=f"{(*shape, 'images')}")

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """From an INVARIANCE artifact. Raises MissingArtifact for one of embeddings, which has no changes."""
        changes = tuple(unpack(arrays["changes"]))
        if not changes:
            what = "embeddings are of the images as they are"
            raise MissingArtifact(f"artifacts/{arrays.provenance.artifact}", what, next_step="judge the network instead")
        moved, others = (np.asarray(arrays[name], np.float64) for name in ("moved", "others"))
        nearest = np.asarray(arrays["nearest"], np.float64)
        return cls(changes, tuple(unpack(arrays["tokens"])), moved, others, nearest, arrays.provenance.images)

    def distance(self, change: str, token: str = "cls") -> Estimate:
        """Mean squared distance to the changed image over that to another image: 0 is invariant, 1 as far as another image."""
        i, j = self._place(change, token)
        return self._mean(self.moved[i, j]).ratio(self._mean(self.others[j]))

    def retrieved(self, change: str, token: str = "cls") -> Estimate:
        """Share of the images to which the changed image is nearer than every other image."""
        i, j = self._place(change, token)
        return self._mean(self.nearest[i, j])

    def _place(self, change: str, token: str) -> tuple[int, int]:
        for name, value, known in (("change", change, self.changes), ("token", token, self.tokens)):
            if value not in known:
                raise InvalidInput("invariance", field=name, seen=value, expected=f"one of {', '.join(known)}")
        return self.changes.index(change), self.tokens.index(token)

    def _mean(self, values: FloatArray) -> Estimate:
        return Estimate.of_mean(values, seed=SEED, unit="images", key=self.images, draws=self.draws)
