"""How sampled images compare with the source whose features they were sampled from, as estimates over sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays
from harness.artifacts.tables import unpack
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import DRAWS, SEED, FloatArray

# Share of the samples from a supervised network's features that must have the class that it sees in their source.
FAITHFUL = 0.9
# What a mirror image changes, of a scene or of a photograph, and how much less of its variance samples may keep than a linear
# regression finds.
PLACES, LACKING = {"x": "the place in x", "balance": "the difference of right and left half"}, 0.2
# Distances to two candidates that differ by less of their sum do not say which of the two a sample shows.
UNDECIDED = 0.05


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one model at one level of noise on its features. Samples of one source are no independent units.

    distance: (source, sample, candidate) mean squared difference of pixels. candidates: the source and its mirror images, as
    `harness.data.mirrors` has them. sample_class: (source, sample), source_class: (source,), as a supervised network has them.
    label: (source,), the class that the source has. factor: (source, sample, value) of the factors that a sample was composed
    from, or of a photograph's balance. read_out: (value,) R2 of each factor by linear regression on the same features. sources:
    digest of the image list; estimates on equal sources are paired. draws: of the bootstrap.
    Raises InvalidInput on another shape.
    """

    distance: FloatArray
    candidates: tuple[str, ...]
    sample_class: NDArray[np.integer]
    source_class: NDArray[np.integer]
    label: NDArray[np.integer]
    factor: FloatArray
    factors: tuple[str, ...]
    read_out: FloatArray
    sources: str
    draws: int = DRAWS

    def __post_init__(self) -> None:
        shape = self.sample_class.shape
        of_sources = (self.source_class.shape, self.label.shape)
        given = (self.distance.shape, self.factor.shape, self.read_out.shape)
        count = len(self.factors)
        if given != ((*shape, len(self.candidates)), (*shape, count), (count,)) or of_sources != (shape[:1], shape[:1]):
            seen = f"{given}, {shape}, {of_sources}"
            expected = "(sources, samples, candidates or factors), (factors,), (sources, samples), (sources,) twice"
            raise InvalidInput("samples", field="distance and classes", seen=seen, expected=expected)

    @classmethod
    def from_arrays(cls, arrays: Arrays, level: float | None = None) -> Self:
        """From a SAMPLES artifact, at the level of the claims or another. Raises InvalidInput for one without samples."""
        levels = arrays["levels"].tolist()
        if level is not None and level not in levels:
            raise InvalidInput(
                "samples", field="level", seen=level, expected=f"one of {', '.join(f'{one:g}' for one in levels)}"
            )
        at = int(arrays["level"][0]) if level is None else levels.index(level)
        distance, candidates = np.asarray(arrays["distance"][at], np.float64), tuple(unpack(arrays["candidates"]))
        classes = arrays["sample_class"][at], arrays["source_class"], arrays["label"]
        factor, factors = np.asarray(arrays["factor"][at], np.float64), tuple(unpack(arrays["factors"]))
        read_out = np.asarray(arrays["read_out"][at], np.float64)
        return cls(distance, candidates, *classes, factor, factors, read_out, arrays.provenance.images)

    def mirrored(self) -> Estimate:
        """Share of samples that are nearer to the mirror image of the source than to the source."""
        return self._mean(self._nearer("mirror", "source"))

    def undecided(self) -> Estimate:
        """Share of samples whose two distances are nearly equal; `mirrored` counts each of them by the smaller distance."""
        mirror, source = self._of("mirror"), self._of("source")
        return self._mean(np.abs(mirror - source) < UNDECIDED * (mirror + source))

    def place_mirrored(self) -> Estimate:
        """Share of samples whose nearest candidate has the object at the mirrored place, turned or not."""
        return self._mean(np.isin(self._nearest(), [self._index("mirror"), self._index("place")]))

    def object_mirrored(self) -> Estimate:
        """Share of samples whose nearest candidate has the object itself mirrored, wherever it is."""
        return self._mean(np.isin(self._nearest(), [self._index("mirror"), self._index("object")]))

    def class_kept(self) -> Estimate:
        """Share of samples whose class, predicted by the supervised network, is the true class of their source."""
        return self._mean(self.sample_class == self.label[:, None])

    def class_as_told(self) -> Estimate:
        """Share of samples whose class is that of their source, both predicted by the supervised network."""
        return self._mean(self.sample_class == self.source_class[:, None])

    def kept(self, factor: str) -> Estimate:
        """Share of a factor's variance that lies between sources: 0 where the features carry no information about it.

        factor: of a scene as `harness.data.latents` has it, where flip is the way that the object faces; or balance, the
        difference between the halves of a photograph.
        """
        values = self.factor[:, :, self._at(factor)]
        values = np.sign(values) if factor == "flip" else values
        total = self._mean((values - values.mean()) ** 2)
        within = self._mean(values.var(1, ddof=1)[:, None])
        return (total - within).ratio(total)

    def by_regression(self, factor: str) -> float:
        """Share of a factor's variance that a linear regression finds in the same features, R2."""
        return float(self.read_out[self._at(factor)])

    def lacking(self) -> str:
        """What samples keep of a factor that mirroring changes, where a regression finds more by over LACKING; else empty.

        Such a generator does not use what the features hold, and its samples say nothing about what they do not hold.
        """
        factor = next(name for name in PLACES if name in self.factors)
        kept, known = self.kept(factor), self.by_regression(factor)
        low, high = kept.interval()
        if high >= known - LACKING:
            return ""
        share = f"{kept.value:.2f} [{low:.2f}, {high:.2f}]"
        return f"samples keep {share} of {PLACES[factor]}, a linear regression finds {known:.2f}"

    def _at(self, factor: str) -> int:
        if factor not in self.factors:
            raise InvalidInput("samples", field="factor", seen=factor, expected=f"one of {', '.join(self.factors)}")
        return self.factors.index(factor)

    def _index(self, candidate: str) -> int:
        if candidate not in self.candidates:
            raise InvalidInput("samples", field="candidate", seen=candidate, expected=f"one of {', '.join(self.candidates)}")
        return self.candidates.index(candidate)

    def _of(self, candidate: str) -> FloatArray:
        return self.distance[:, :, self._index(candidate)]

    def _nearer(self, one: str, other: str) -> NDArray[np.bool_]:
        return self._of(one) < self._of(other)

    def _nearest(self) -> NDArray[np.intp]:
        nearest: NDArray[np.intp] = self.distance.argmin(2)
        return nearest

    def _mean(self, values: NDArray[np.generic]) -> Estimate:
        by_source = np.asarray(values, np.float64).mean(1)
        return Estimate.of_mean(by_source, seed=SEED, unit="sources", key=self.sources, draws=self.draws)


@dataclass(frozen=True)
class Generated:
    """The samples of a profile. of: a model's name to its samples. judge: the supervised network that tells their class."""

    of: Callable[[str], Samples]
    judge: str

    def mirrored(self, model: str) -> Estimate:
        """Share of a model's samples that are nearer to the mirror image of their source than to the source."""
        return self.of(model).mirrored()

    def unfaithful(self, models: Iterable[str]) -> str:
        """Why samples of these models are not read, else empty: those from the judge's features are not of the class that it
        predicts, or a model's keep much less of the place than its features hold.
        """
        kept = self.of(self.judge).class_as_told()
        low, high = kept.interval()
        if low < FAITHFUL:
            seen = f"{kept.value:.3f} [{low:.3f}, {high:.3f}] of the samples from {self.judge} have the class that it sees"
            return f"{seen}; needed: {FAITHFUL:g}"
        return next((f"{model}: {reason}" for model in models if (reason := self.of(model).lacking())), "")
