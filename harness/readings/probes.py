"""What probes find, as estimates: measured ones over images and configurations, printed ones over what the paper says of them.

Claims name a point, a model with the features that its probe had: "final", the CLS token after the last block; "pair", that and
the best other block's; "all"; "wide", the final one joined to itself; "depth2" to "depth5", "deep" the best of those beyond 2;
"projected", the mean over random projections of all blocks to the width of one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays
from harness.artifacts.tables import unpack
from harness.evidence.estimate import Estimate, mean
from harness.evidence.resampling import DRAWS, SEED, FloatArray, bootstrap_means, pairing_key
from harness.params.wording import nearest
from harness.readings.depth import pairs_of, without_blocks
from harness.readings.published import Published

Point = tuple[str, str]

PROJECTED = "projected"
DEEP = ("depth3", "depth4", "depth5")


class Probes(Protocol):
    """Top-1 accuracies in percent, and code lengths in percent of those without features."""

    def combination(self, factors: Mapping[Point, float]) -> Estimate:
        """The weighted sum of points."""
        ...

    def code(self, model: str, features: str) -> Estimate:
        """Length of an online code of the training labels, in percent of log2(classes) bits a label."""
        ...


def difference(probes: Probes, one: Point, other: Point) -> Estimate:
    """One point minus the other, in percentage points."""
    return probes.combination({one: 1.0, other: -1.0})


def gain(probes: Probes, model: str, features: str) -> Estimate:
    """What a probe of these features has over the linear probe on the final CLS token."""
    return difference(probes, (model, features), (model, "final"))


@dataclass(frozen=True, eq=False)
class ProbeAccuracy:
    """For each validation image, whether one model's probes classify it correctly.

    right: by feature set, (run, image). holdout: by feature set, the mean share right on the hold-out of the configurations
    that the runs have. name: the model's. images: digest of the image list; estimates on equal images are paired. code: by
    feature set, (training image,), the share of log2(classes) bits that its label costs in an online code.
    Raises InvalidInput when there are no sets, or sets of different shapes.
    """

    right: Mapping[str, NDArray[np.bool_]]
    holdout: Mapping[str, float]
    name: str
    images: str
    code: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {array.shape for array in self.right.values()}
        if len(shapes) != 1 or set(self.right) != set(self.holdout) or any(len(shape) != 2 for shape in shapes):
            raise InvalidInput("probes", field="outcomes", seen=sorted(map(str, shapes)), expected="(run, image) of every set")

    @classmethod
    def from_arrays(cls, arrays: Arrays, name: str) -> Self:
        """From a PROBE artifact."""
        sets, n = unpack(arrays["sets"]), len(arrays["label"])
        right = np.unpackbits(np.asarray(arrays["right"]), axis=2, count=n).astype(bool)
        chosen = np.take_along_axis(np.asarray(arrays["holdout"], np.float64), np.asarray(arrays["best"]), axis=1).mean(1)
        code = dict(zip(unpack(arrays["coded"]), np.asarray(arrays["code"], np.float64), strict=True))
        holdout = dict(zip(sets, chosen.tolist(), strict=True))
        return cls(dict(zip(sets, right, strict=True)), holdout, name, arrays.provenance.images, code)

    def chosen(self, features: str) -> str:
        """The feature set that a name stands for: of several, the best on the hold-out, by the mean accuracy there of the
        configurations that were then trained anew. Raises InvalidInput with the nearest names for one that was not probed, and
        MissingArtifact for other blocks of embeddings, which have none.
        """
        pairs = pairs_of(list(self.holdout))
        if not pairs and features in {"pair", "wide", "all", PROJECTED} - set(self.holdout):
            raise without_blocks(f"probes of {self.name} on other blocks")
        *others, last = pairs or [""]
        several = {"wide": [last], "pair": others, "deep": list(DEEP)}
        options = [name for name in several.get(features, [features]) if name in self.holdout]
        if not options:
            known = [*self.holdout, *several]
            raise InvalidInput(f"probes of {self.name}", field="features", seen=features, expected=nearest(features, known))
        return max(options, key=lambda name: self.holdout[name])

    def estimate(self, features: str) -> Estimate:
        """Mean accuracy of the reported runs, resampled over images and, of each feature set by itself, over its runs."""
        if features == PROJECTED:
            projections = [name for name in self.right if name.startswith(PROJECTED)]
            if projections:
                return mean([self.estimate(name) for name in projections])
        index = list(self.right).index(self.chosen(features))
        value, draws, without = (part[..., index] for part in self._resampled)
        n = next(iter(self.right.values())).shape[1]
        return Estimate(float(value), draws, n, "images", pairing_key(self.images, "images", n, DRAWS), without)

    def code_length(self, features: str) -> Estimate:
        """Online code length of a training label, in percent of log2(classes) bits, resampled over training images.

        Raises InvalidInput for features by which no labels were coded.
        """
        if features not in self.code:
            seen, expected = features, nearest(features, list(self.code))
            raise InvalidInput(f"probes of {self.name}", field="coded features", seen=seen, expected=expected)
        percent = 100.0 * self.code[features]
        n = len(percent)
        return Estimate.resample(lambda w: w @ percent / n, n, seed=SEED, unit="training images", key=self.images, draws=DRAWS)

    @cached_property
    def _resampled(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Accuracy in percent (set,), its draws (draws, set), and what it is without each image (image, set)."""
        outcomes = 100.0 * np.stack(list(self.right.values())).astype(np.float64)
        sets, runs, n = outcomes.shape
        by_run = bootstrap_means(outcomes.reshape(-1, n), SEED, DRAWS)
        weights = np.stack([_run_weights(f"{self.name}/{name}", runs) for name in self.right], axis=1)
        draws = (by_run.reshape(DRAWS, sets, runs) * weights).sum(2)
        by_image = outcomes.mean(1)
        value = by_image.mean(1)
        return value, draws, ((value[:, None] * n - by_image) / (n - 1)).T


def _run_weights(key: str, runs: int) -> FloatArray:
    """(draws, runs): how much each run counts in each draw, another sample of the runs for every key."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    return rng.multinomial(runs, np.full(runs, 1 / runs), size=DRAWS) / runs


@dataclass(frozen=True)
class MeasuredProbes:
    """Probes of a profile. of: a model's name to the accuracy of its probes."""

    of: Callable[[str], ProbeAccuracy]

    def combination(self, factors: Mapping[Point, float]) -> Estimate:
        """The weighted sum of points, paired over the images. Raises InvalidInput for features that were not probed."""
        parts = [self.of(model).estimate(features) * factor for (model, features), factor in factors.items()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def code(self, model: str, features: str) -> Estimate:
        """Code length of the training labels by these features, paired over the images."""
        return self.of(model).code_length(features)


@dataclass(frozen=True)
class PrintedProbes:
    """What the paper prints of its probes: accuracies in Table 1, and the gains of deeper probes in the text."""

    numbers: Published

    def combination(self, factors: Mapping[Point, float]) -> Estimate:
        """The weighted sum of points, of which what cancels is not counted. Raises InvalidInput for one that is not printed."""
        terms: dict[str, float] = {}
        for (model, features), factor in factors.items():
            for key in self._keys(model, features):
                terms[key] = terms.get(key, 0.0) + factor
        return self.numbers.combination({key: factor for key, factor in terms.items() if factor})

    def code(self, model: str, features: str) -> Estimate:
        """Raises InvalidInput: the paper codes no labels."""
        raise InvalidInput("published numbers", field="code", seen=f"{features} of {model}", expected="what is printed")

    def _keys(self, model: str, features: str) -> list[str]:
        if features in ("final", "pair", "all"):
            return [f"table1.{features}.{model}"]
        # The paper does not say whose of the two gains is whose.
        gains = {
            ("moco_v3", "depth2"): "text.depth_2_gain.first_je",
            ("dino", "depth2"): "text.depth_2_gain.second_je",
            ("mae", "depth3"): "text.depth_3_gain.mae",
        }
        if (model, features) not in gains:
            raise InvalidInput(
                "published numbers", field="probe", seen=f"{features} of {model}", expected="one that is printed"
            )
        return [f"table1.final.{model}", gains[model, features]]
