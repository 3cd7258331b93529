"""Average precision of detectors on frozen features, as estimates over images: measured, or as the paper prints it.

All numbers are in points: 100 times COCO's AP. Statistics and tasks have the names that a DETECT artifact has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays
from harness.artifacts.tables import STATISTICS, TASKS
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import DRAWS, FloatArray, pairing_key
from harness.readings.published import Published

# Of box AP50 in points: what a detector that has learnt its images reaches.
LEARNT = 50.0
# What the readings of claims about detectors say of it.
UNLEARNT = f"; UNCALIBRATED where no detector of the profile reaches a box AP50 of {LEARNT:g}"


@dataclass(frozen=True, eq=False)
class DetectionAccuracy:
    """AP of one model's detector.

    ap: (task, statistic, 1 + draws + image) in [0, 1], on all images, in each bootstrap draw of them, and without each. images:
    digest of the image list; estimates on equal images are paired.
    Raises InvalidInput on another shape.
    """

    ap: FloatArray
    images: str

    def __post_init__(self) -> None:
        expected = (len(TASKS), len(STATISTICS))
        if self.ap.ndim != 3 or self.ap.shape[:2] != expected or self.ap.shape[2] < 1 + DRAWS + 2:
            seen = f"shape {self.ap.shape}"
            raise InvalidInput("detection", field="ap", seen=seen, expected=f"{(*expected, '1 + draws + images')}")

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """From a DETECT artifact."""
        return cls(np.asarray(arrays["ap"], np.float64), arrays.provenance.images)

    def points(self, task: str, statistic: str) -> Estimate:
        """100 AP of a task ("box" or "mask") by a statistic ("ap", "ap50", "ap75", "small", "medium" or "large")."""
        for name, known in ((task, TASKS), (statistic, STATISTICS)):
            if name not in known:
                raise InvalidInput("detection", field="AP", seen=name, expected=f"one of {', '.join(known)}")
        values = 100 * self.ap[TASKS.index(task), STATISTICS.index(statistic)]
        n = len(values) - 1 - DRAWS
        key = pairing_key(self.images, "images", n, DRAWS)
        return Estimate(float(values[0]), values[1 : 1 + DRAWS], n, "images", key, values[1 + DRAWS :])


class Detection(Protocol):
    """AP of models, in points: on frozen features, or trained end to end."""

    def difference(self, task: str, statistic: str, one: str, other: str) -> Estimate:
        """AP of one model minus that of another."""
        ...

    def gain(self, task: str, model: str, layers: str) -> Estimate:
        """AP with further layers beside the last minus AP with the last alone."""
        ...

    def unlearnt(self) -> str:
        """The reason why no detectors are compared: none of them has learnt to find objects. Empty otherwise."""
        ...

    def uninformative(self, task: str, statistic: str, models: Sequence[str]) -> str:
        """The reason why these models are not compared: no detector has learnt, or none of these is better than that of an
        untrained network. Empty otherwise.
        """
        ...

    def withheld(self, task: str, statistic: str, models: Sequence[str]) -> str:
        """The reason why the number of one of these models must not be used. Empty otherwise."""
        ...


@dataclass(frozen=True)
class MeasuredDetection:
    """AP of a profile. of: a model's name and layers to the accuracy of its detector. untrained: networks without training.

    detectors: the accuracy of each of the profile's detectors, by model and layers, which is read when asked for. layers: what
    the detectors read that are compared, the final block or the final block of a backbone that is trained too.
    """

    of: Callable[[str, str], DetectionAccuracy]
    untrained: Sequence[str]
    detectors: Mapping[tuple[str, str], Callable[[], DetectionAccuracy]]
    layers: str = "final"

    def difference(self, task: str, statistic: str, one: str, other: str) -> Estimate:
        """As Detection has it, paired over the images."""
        return self.of(one, self.layers).points(task, statistic) - self.of(other, self.layers).points(task, statistic)

    def gain(self, task: str, model: str, layers: str) -> Estimate:
        """As Detection has it, paired over the images."""
        return self.of(model, layers).points(task, "ap") - self.of(model, "final").points(task, "ap")

    def unlearnt(self) -> str:
        """As Detection has it, by the box AP50 of each detector."""
        reached: dict[tuple[str, str], float] = {}
        for detector, accuracy in self.detectors.items():
            reached[detector] = accuracy().points("box", "ap50").value
            if reached[detector] >= LEARNT:
                return ""
        words = ", ".join(f"{model} ({layers}) {points:.1f}" for (model, layers), points in reached.items())
        return f"box ap50 of the detectors: {words}; needed: {LEARNT:g} of one of them, else they are too weak to compare"

    def uninformative(self, task: str, statistic: str, models: Sequence[str]) -> str:
        """As Detection has it, by the interval over images, against the best untrained network."""
        if weak := self.unlearnt():
            return weak
        best = max(self.untrained, key=lambda model: self.of(model, self.layers).points(task, statistic).value)
        gains = {model: self.difference(task, statistic, model, best) for model in models}
        if any(gain.interval()[0] > 0 for gain in gains.values()):
            return ""
        words = ", ".join(f"{model} {gain.value:+.1f}" for model, gain in gains.items())
        return f"{task} {statistic} over the untrained {best}: {words}; needed: one of them above it"

    def withheld(self, task: str, statistic: str, models: Sequence[str]) -> str:
        """Empty: measured numbers may be used."""
        return ""


# What the paper calls a model of params.yaml.
_PRINTED = {"dino_nomc": "dino_no_multicrop"}
# What it prints of AP.
PRINTED_STATISTICS = {"ap": "ap", "small": "ap_small", "large": "ap_large"}


def printed_key(table: str, task: str, statistic: str, model: str) -> str:
    """The name of a printed AP: of table2, table_a6 or table_a7, a task, a statistic and a model of params.yaml."""
    return f"{table}.{task}_{PRINTED_STATISTICS[statistic]}.{_PRINTED.get(model, model)}"


@dataclass(frozen=True)
class PrintedDetection:
    """AP as Table 2 prints it, with DINO as released, Table A6; end to end, Table A7."""

    numbers: Published
    end_to_end: bool = False

    def difference(self, task: str, statistic: str, one: str, other: str) -> Estimate:
        """As Detection has it. Raises InvalidInput for a number that is not printed."""
        return self.numbers.difference(*self._keys(task, statistic, [one, other]))

    def gain(self, task: str, model: str, layers: str) -> Estimate:
        """Raises InvalidInput: Fig. 8 is a plot."""
        raise InvalidInput("published numbers", field="gain", seen=f"{layers} of {model}", expected="what is printed")

    def unlearnt(self) -> str:
        """Empty: the paper's detectors have learnt."""
        return ""

    def uninformative(self, task: str, statistic: str, models: Sequence[str]) -> str:
        """The paper prints no untrained network, and ImageNet's features are informative."""
        return ""

    def withheld(self, task: str, statistic: str, models: Sequence[str]) -> str:
        """As Detection has it: misprints are quarantined."""
        for key in self._keys(task, statistic, models):
            number = self.numbers.number(key)
            if number.quarantined:
                return f"{number.where}, {key.rpartition('.')[2]}: {number.value} is quarantined, {number.quarantined}"
        return ""

    def _keys(self, task: str, statistic: str, models: Sequence[str]) -> list[str]:
        table = "table_a7" if self.end_to_end else "table_a6" if "dino" in models else "table2"
        return [printed_key(table, task, statistic, model) for model in models]
