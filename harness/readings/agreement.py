"""How alike two models rank classes and answer, as estimates over the same images (appendix D)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays
from harness.artifacts.tables import RANKED
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import DRAWS, SEED, FloatArray
from harness.readings.published import Published

Subset = Literal["all", "right", "wrong"]


@dataclass(frozen=True, eq=False)
class Agreement:
    """Two models' linear probes on the same images, seen from the first one.

    tau: (k, image), tau-b of their k most likely classes, k as in RANKED; chance: the same where the second model sees another
    image of the class, which is what their accuracies and confusions by class alone give. label, answer, other: (image,),
    the class, the first model's answer and the second's. images: digest of the image list. draws: of the bootstrap.
    """

    tau: FloatArray
    chance: FloatArray
    label: NDArray[np.integer]
    answer: NDArray[np.integer]
    other: NDArray[np.integer]
    images: str
    draws: int = DRAWS

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, transposed: bool = False) -> Self:
        """From an AGREE artifact; transposed: seen from its second model. Tau is the same from both."""
        answers = [np.asarray(arrays[name]) for name in ("answer_a", "answer_b")]
        first, second = answers[::-1] if transposed else answers
        tau, chance = (np.asarray(arrays[name], np.float64) for name in ("tau", "chance"))
        return cls(tau, chance, np.asarray(arrays["label"]), first, second, arrays.provenance.images)

    def alike(self, k: int, subset: Subset) -> Estimate:
        """Mean tau-b over all images, or those that the first model gets right or wrong."""
        return self._ranked("tau", k, subset)

    def beyond_accuracy(self, k: int, subset: Subset) -> Estimate:
        """Mean tau-b minus the part that accuracies and confusions by class explain (`chance`)."""
        return self._ranked("beyond", k, subset)

    def same_answer(self) -> Estimate:
        """Share of images for which both predict the same class: micro F1 of one against the other."""
        return self._mean((self.answer == self.other).astype(np.float64), "all")

    def ceiling(self) -> float:
        """The largest share of equal predictions that the two accuracies allow."""
        return 1 - abs(float((self.answer == self.label).mean() - (self.other == self.label).mean()))

    def _ranked(self, name: str, k: int, subset: Subset) -> Estimate:
        """Cached, since several claims and several assignments of runs ask for it."""
        key = (name, k, subset)
        if key not in self._known:
            values = self.tau if name == "tau" else self.tau - self.chance
            self._known[key] = self._mean(values[self._index(k)], subset)
        return self._known[key]

    @cached_property
    def _known(self) -> dict[tuple[str, int, str], Estimate]:
        return {}

    def _index(self, k: int) -> int:
        if k not in RANKED:
            raise InvalidInput("agreement", field="k", seen=k, expected=f"one of {RANKED}")
        return RANKED.index(k)

    def _mean(self, values: FloatArray, subset: Subset) -> Estimate:
        right = self.answer == self.label
        chosen = {"all": np.ones(len(right)), "right": right.astype(np.float64), "wrong": 1.0 - right}[subset]
        if chosen.sum() < 2:
            seen = f"{int(chosen.sum())} of {len(chosen)} images"
            raise InvalidInput("agreement", field=f"images answered {subset}", seen=seen, expected="at least 2 to resample")
        return Estimate.of_mean(values, chosen, seed=SEED, unit="images", key=self.images, draws=self.draws)


# Two models' names to how alike they answer, seen from the first one.
Agreements = Callable[[str, str], Agreement]


class Answers(Protocol):
    """How often two models predict the same class, measured or printed."""

    def gap(self, near: tuple[str, str], far: tuple[str, str], *, matched: bool) -> Estimate:
        """F1 of the near pair minus F1 of the far pair; matched: each over the largest F1 that its accuracies allow."""
        ...


@dataclass(frozen=True)
class MeasuredAnswers:
    """Answers of a profile's probes."""

    of: Agreements

    def gap(self, near: tuple[str, str], far: tuple[str, str], *, matched: bool) -> Estimate:
        """As Answers has it, with the ceilings as they were measured."""
        one, other = (self.of(*pair) for pair in (near, far))
        over = [found.ceiling() if matched else 1.0 for found in (one, other)]
        return one.same_answer() / over[0] - other.same_answer() / over[1]


@dataclass(frozen=True)
class PrintedAnswers:
    """F1 as appendix D prints it, with ceilings from the accuracies of Table 1."""

    numbers: Published

    def gap(self, near: tuple[str, str], far: tuple[str, str], *, matched: bool) -> Estimate:
        """As Answers has it. A ceiling's own rounding is a hundredth of a point, that of F1 half a point."""
        keys = ["appendix_d.f1." + "_".join(pair) for pair in (near, far)]
        if not matched:
            return self.numbers.difference(*keys)
        factors = [sign / self._ceiling(*pair) for sign, pair in ((1, near), (-1, far))]
        return self.numbers.combination(dict(zip(keys, factors, strict=True)))

    def _ceiling(self, a: str, b: str) -> float:
        one, other = (self.numbers.number(f"table1.final.{model}").value / 100 for model in (a, b))
        return 1 - abs(one - other)
