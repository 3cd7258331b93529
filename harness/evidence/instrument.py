"""Whether a profile's measures and trainings are sensitive enough for a verdict. If not, the claim is UNCALIBRATED."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.evidence.estimate import Estimate, mean
from harness.evidence.measure import Accuracies, Measure
from harness.evidence.resampling import BLOCKS

# 20-NN accuracy in percent: of a joint embedding, its points above raw pixels, and of a network that was trained with labels.
LEARNT, ABOVE_PIXELS, TAUGHT = 65.0, 15.0, 90.0
# Points that the linear probe of a reconstruction model has above that of an untrained network.
PROBE_GAIN = 15.0
# Points between what is measured and what others published of the same weights.
NEAR = 1.0
# What every claim asks of a measure's range, those of direction alone included.
LEAST_RANGE = 0.1


@dataclass(frozen=True)
class Instrument:
    """The measures of one profile, and the networks by which they are calibrated.

    measures: by the name of the fixture that gives them to claims. runs: the pre-training runs of each method, by its name.
    untrained, supervised: networks without and with labels. reconstruction: the models that rebuild their input; all other
    trained models are joint embeddings. pixels: 20-NN accuracy on raw pixels in percent, of the same images.
    anchors: 20-NN accuracy of final CLS tokens as others published it.
    own_kind: of models of another architecture than `untrained`, the untrained networks of theirs, if there are any.
    All take and give the models' own names.
    """

    measures: Mapping[str, Measure]
    knn: Callable[[str], Accuracies]
    runs: Mapping[str, Sequence[str]]
    untrained: Sequence[str]
    supervised: Sequence[str]
    reconstruction: Collection[str]
    pixels: Callable[[], float]
    anchors: Mapping[str, float] = field(default_factory=dict)
    own_kind: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _ranges: dict[tuple[str, tuple[int, ...]], Estimate] = field(default_factory=dict, repr=False)
    # By model: most claims ask for the same few.
    _final: dict[str, _Learnt] = field(default_factory=dict, repr=False)
    _gains: dict[str, _Learnt] = field(default_factory=dict, repr=False)

    def range(self, name: str, blocks: Sequence[int]) -> Estimate:
        """Same-depth similarity of two runs of one method, less that of a trained and an untrained network.

        Means over the methods' pairs of runs, and over each method's first run with each untrained network. A method of one run
        is compared with itself, which is the most that a measure gives: then the range is an upper limit.
        """
        key = (name, tuple(blocks))
        if key not in self._ranges:
            measure = self.measures[name]
            alike = [measure(*pair).same_depth(blocks) for runs in self.runs.values() for pair in _pairs(runs)]
            apart = [measure(runs[0], other).same_depth(blocks) for runs in self.runs.values() for other in self.untrained]
            self._ranges[key] = mean(alike) - mean(apart)
        return self._ranges[key]

    def check_range(self, name: str, blocks: Sequence[int], margin: float) -> tuple[str, bool]:
        """The range in words, and whether it is too small: below twice the margin of a difference, or below LEAST_RANGE."""
        if not self.untrained:
            return f"{name}: no untrained network to compare with", True
        found = self.range(name, blocks)
        low, high = found.interval()
        needed = max(2 * margin, LEAST_RANGE)
        where = "" if tuple(blocks) == BLOCKS else f" over blocks {blocks[0]}-{blocks[-1]}"
        return f"{name} range{where} {found.value:.3f} [{low:.3f}, {high:.3f}], needed {needed:.3g}", low < needed

    def check_training(self, models: Sequence[str]) -> tuple[str, bool]:
        """How much the models and the supervised network have learnt, in words, and whether that is too little for a claim.

        A joint embedding needs a 20-NN accuracy of its final token, a reconstruction model a linear probe. The lower confidence
        limit must reach the bar.
        Raises MissingArtifact where an accuracy was not measured.
        """
        if not self.untrained:
            return "20-NN: no untrained network to compare with", True
        rebuilt = [model for model in models if model in self.reconstruction]
        alone = [model for model in rebuilt if not self.own_kind.get(model, self.untrained)]
        if alone:
            return f"linear probe: no untrained network of the architecture of {', '.join(alone)}", True
        checks = [
            self._embeddings([model for model in models if model not in self.reconstruction]),
            self._rebuilt(rebuilt),
            self._supervised(),
            self._anchors(),
        ]
        said = "; ".join(check.said for check in checks if check.said)
        needed = "; ".join(f"needed {check.needed}: not so for {', '.join(check.poor)}" for check in checks if check.poor)
        return (f"{said}; {needed}", True) if needed else (said, False)

    def _embeddings(self, models: Sequence[str]) -> _Check:
        if not models:
            return _Check()
        pixels, found = self.pixels(), {model: self._final_of(model) for model in models}
        bar = max(LEARNT, pixels + ABOVE_PIXELS)
        words = [f"{model} {own.value:.1f} %" for model, own in found.items()]
        said = f"20-NN of the final features: {', '.join(words)}, raw pixels {pixels:.1f} %"
        needed = f"{bar:.1f} % ({LEARNT:g} %, and {ABOVE_PIXELS:g} points above raw pixels)"
        return _Check(said, needed, _below(bar, found))

    def _rebuilt(self, models: Sequence[str]) -> _Check:
        if not models:
            return _Check()
        gains = {model: self._gain_of(model) for model in models}
        words = [f"{model} {gain.value:+.1f}" for model, gain in gains.items()]
        said = f"linear probe, points above an untrained network: {', '.join(words)}"
        return _Check(said, f"{PROBE_GAIN:+g}", _below(PROBE_GAIN, gains))

    def _final_of(self, model: str) -> _Learnt:
        """20-NN accuracy after the final norm: of the CLS token, or of the mean over places where there is none."""
        if model not in self._final:
            accuracy = self.knn(model)
            self._final[model] = _Learnt.of(accuracy.final("cls" if "cls" in accuracy.tokens else "gap"))
        return self._final[model]

    def _gain_of(self, model: str) -> _Learnt:
        """Points of the linear probe above the best untrained network of the model's architecture."""
        if model not in self._gains:
            self._gains[model] = _Learnt.of(self.knn(model).probe() - self._best_untrained(model))
        return self._gains[model]

    def _best_untrained(self, model: str) -> Estimate:
        untrained = self.own_kind.get(model, self.untrained)
        return max((self.knn(name).probe() for name in untrained), key=lambda estimate: estimate.value)

    def _supervised(self) -> _Check:
        found = {model: self._final_of(model) for model in self.supervised}
        said = ", ".join(f"{model} {own.value:.1f} %" for model, own in found.items())
        return _Check(said, f"{TAUGHT:g} % with labels", _below(TAUGHT, found))

    def _anchors(self) -> _Check:
        known = {model: self.knn(model).final("cls").value for model in self.anchors}
        said = ", ".join(
            f"{model} {value:.1f} % where {self.anchors[model]:g} % is published" for model, value in known.items()
        )
        poor = [model for model, value in known.items() if abs(value - self.anchors[model]) > NEAR]
        return _Check(said, f"within {NEAR:g} of what is published", poor)


class _Learnt(NamedTuple):
    """An accuracy or a gain in it, and the lower limit of its interval."""

    value: float
    low: float

    @classmethod
    def of(cls, estimate: Estimate) -> _Learnt:
        """From an estimate."""
        return cls(estimate.value, estimate.interval()[0])


@dataclass(frozen=True)
class _Check:
    """The values found, the values needed, and the models that miss them."""

    said: str = ""
    needed: str = ""
    poor: Sequence[str] = ()


def _below(bar: float, found: Mapping[str, _Learnt]) -> list[str]:
    """The models whose lower confidence limit is below the bar, with that limit."""
    return [f"{model} (lower limit {own.low:.1f})" for model, own in found.items() if own.low < bar]


def _pairs(runs: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [(a, b) for i, a in enumerate(runs) for b in runs[i + 1 :]]
    return pairs or [(runs[0], runs[0])]
