"""Whether a profile's measures can tell at all: no verdict is read from an instrument that is blind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.evidence.estimate import Estimate, mean
from harness.evidence.measure import Accuracies, Measure
from harness.evidence.resampling import BLOCKS

# A trained model's best block gains at least so many points over an untrained network's, and labels teach at least so much.
GAIN, TAUGHT = 5.0, 90.0
# Points between what is measured and what others published of the same weights.
NEAR = 1.0
# What every claim asks of a measure's range, those of direction alone included.
LEAST_RANGE = 0.1


@dataclass(frozen=True)
class Instrument:
    """The measures of one profile, and the networks that show what they can tell.

    measures: by the name of the fixture that gives them to claims. runs: the pre-training runs of each method, by its name.
    untrained, supervised: networks without and with labels. anchors: 20-NN accuracy of final CLS tokens as others published it.
    own_kind: of models of another architecture than `untrained`, the untrained networks of theirs, if there are any.
    All take and give the models' own names.
    """

    measures: Mapping[str, Measure]
    knn: Callable[[str], Accuracies]
    runs: Mapping[str, Sequence[str]]
    untrained: Sequence[str]
    supervised: Sequence[str]
    anchors: Mapping[str, float] = field(default_factory=dict)
    own_kind: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _ranges: dict[tuple[str, tuple[int, ...]], Estimate] = field(default_factory=dict, repr=False)
    _gains: dict[str, Estimate] = field(default_factory=dict, repr=False)

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
        """The range in words, and whether it is too narrow to tell: below twice the margin of a difference, or LEAST_RANGE."""
        if not self.untrained:
            return f"{name}: no untrained network to compare with", True
        found = self.range(name, blocks)
        low, high = found.interval()
        needed = max(2 * margin, LEAST_RANGE)
        where = "" if tuple(blocks) == BLOCKS else f" over blocks {blocks[0]}-{blocks[-1]}"
        return f"{name} range{where} {found.value:.3f} [{low:.3f}, {high:.3f}], needed {needed:.3g}", low < needed

    def check_training(self, models: Sequence[str]) -> tuple[str, bool]:
        """What the models and the labels teach, in words, and whether that is too little to speak of methods."""
        if not self.untrained:
            return "20-NN: no untrained network to compare with", True
        alone = [model for model in models if not self.own_kind.get(model, self.untrained)]
        if alone:
            return f"20-NN: no untrained network of the architecture of {', '.join(alone)}", True
        gains = {model: self._gain(model) for model in models}
        words = [f"{model} {gain.value:+.1f}" for model, gain in gains.items()]
        taught = {model: self.knn(model).probe() for model in self.supervised}
        words += [f"{model} reaches {accuracy.value:.1f} %" for model, accuracy in taught.items()]
        poor = [model for model, gain in gains.items() if gain.interval()[0] < GAIN]
        poor += [model for model, accuracy in taught.items() if accuracy.interval()[0] < TAUGHT]
        known = {model: self.knn(model).final("cls").value for model in self.anchors}
        words += [f"{model} {value:.1f} % where {self.anchors[model]:g} % is published" for model, value in known.items()]
        poor += [model for model, value in known.items() if abs(value - self.anchors[model]) > NEAR]
        said = f"20-NN at the best block, over untrained: {', '.join(words)}"
        if poor:
            needed = f"needed {GAIN:+g}, {TAUGHT:g} % with labels, within {NEAR:g} of what is published"
            return f"{said}; {needed}: not so for {', '.join(poor)}", True
        return said, False

    def _gain(self, model: str) -> Estimate:
        if model not in self._gains:
            untrained = self.own_kind.get(model, self.untrained)
            self._gains[model] = _best(self.knn(model)) - max((_best(self.knn(u)) for u in untrained), key=_value)
        return self._gains[model]


def _pairs(runs: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [(a, b) for i, a in enumerate(runs) for b in runs[i + 1 :]]
    return pairs or [(runs[0], runs[0])]


def _best(accuracy: Accuracies) -> Estimate:
    found = [accuracy.at(token, block) for token in accuracy.tokens for block in BLOCKS]
    return max([*found, *(accuracy.final(token) for token in accuracy.tokens)], key=_value)


def _value(estimate: Estimate) -> float:
    return estimate.value
