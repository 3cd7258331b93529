"""Kinship: whether a model is like joint embeddings or like reconstructions, by one measure of similarity.

The rule was fixed before any model was judged. A model's nearness to a family is its similarity to the family's nearest
method, mean over that method's runs. Its lead is its nearness to the JE family minus that to the REC family. The cut is the
midpoint between the smallest lead of a JE run and the largest lead of a REC run, each run left out of its own method. The model
belongs to a family when its lead lies on that family's side of the cut and it is nearer to the family, by NEAR, than untrained
networks are. A measure for which this rule misclassifies the runs or the untrained networks is UNCALIBRATED.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.evidence.claim import undecided
from harness.evidence.decide import NO_NUMBER, Decision, State
from harness.evidence.estimate import Estimate, mean
from harness.evidence.measure import Measure
from harness.evidence.resampling import BLOCKS, HI, LO, MID

# By how much a model must be nearer to a family than untrained networks are, in the measure's own unit.
NEAR = 0.05
THIRDS = {"early": LO, "middle": MID, "late": HI}


@dataclass(frozen=True, eq=False)
class Kinship:
    """One measure of similarity, and the runs that a model is compared with.

    je, rec: each method's runs by its name. untrained: networks without training. values: the measure without draws, for what
    only the runs' own values are asked of; the measure itself where it has none of its own.
    """

    measure: Measure
    je: Mapping[str, Sequence[str]]
    rec: Mapping[str, Sequence[str]]
    untrained: Sequence[str]
    values: Measure | None = None

    def of(self, model: str, blocks: Sequence[int] = BLOCKS) -> Decision:
        """The family of the model over these blocks, or UNCALIBRATED. The estimate is its lead, the margin the cut."""
        least, most = self._leads(blocks)
        blind = self._blind(least, most, blocks)
        if blind:
            return undecided(State.UNCALIBRATED, blind)
        je, rec = (self.nearness(model, family, blocks) for family in (self.je, self.rec))
        lead, cut = je - rec, (least + most) / 2
        beyond = {
            State.JE_LIKE: je - self._floor(self.je, model, blocks),
            State.REC_LIKE: rec - self._floor(self.rec, model, blocks),
        }
        low, high = lead.interval()
        side = State.JE_LIKE if low > cut else State.REC_LIKE if high < cut else None
        near = [part for state, part in beyond.items() if side in (None, state)]
        if all(part.interval()[1] < NEAR for part in near):
            state = State.NEITHER
        elif side is not None and near[0].interval()[0] > NEAR:
            state = side
        else:
            state = State.INCONCLUSIVE
        reason = f"nearer to JE than to REC by {lead.value:+.3f}, families part at {cut:+.3f}; nearer than untrained networks: "
        reason += " and ".join(f"{part.value:+.3f} to {kin.partition('-')[0]}" for kin, part in beyond.items())
        return Decision(state, lead.value, (low, high), cut, lead.n, lead.unit, reason)

    def by_method(self, model: str) -> list[tuple[str, float]]:
        """Each method and the model's similarity to it, nearest first: the mean over its runs without the model itself."""
        measure = self.values or self.measure
        methods = {**self.je, **self.rec}
        found = {method: _similarity(measure, model, runs, BLOCKS).value for method, runs in methods.items()}
        return sorted(found.items(), key=lambda one: -one[1])

    def nearness(self, model: str, family: Mapping[str, Sequence[str]], blocks: Sequence[int]) -> Estimate:
        """Similarity to the family's nearest method; a run is left out of its own method unless it is the only one."""
        return _nearest(self.measure, model, family, blocks)

    def _value(self, model: str, family: Mapping[str, Sequence[str]], blocks: Sequence[int]) -> float:
        return _nearest(self.values or self.measure, model, family, blocks).value

    def _floor(self, family: Mapping[str, Sequence[str]], model: str, blocks: Sequence[int]) -> Estimate:
        """Similarity of the nearest untrained network, other than the model, to the family."""
        nearest = max((u for u in self.untrained if u != model), key=lambda u: self._value(u, family, blocks))
        return self.nearness(nearest, family, blocks)

    def _leads(self, blocks: Sequence[int]) -> tuple[float, float]:
        """The smallest lead of a JE run, and the largest of a REC run."""

        def leads(family: Mapping[str, Sequence[str]]) -> list[float]:
            runs = [run for runs in family.values() for run in runs]
            return [self._value(run, self.je, blocks) - self._value(run, self.rec, blocks) for run in runs]

        return min(leads(self.je)), max(leads(self.rec))

    def _blind(self, least: float, most: float, blocks: Sequence[int]) -> str:
        """Why the measure does not separate the families or the untrained networks; empty where it does."""
        if len(self.untrained) < 2:
            return f"{len(self.untrained)} untrained networks, needed 2 to say what training is not the cause of"
        if least <= most:
            return f"a JE run leads by {least:+.3f}, a REC run by {most:+.3f}: the families are not told apart"
        for family in (self.je, self.rec):
            for run in (run for runs in family.values() for run in runs):
                floor = max(self._value(u, family, blocks) for u in self.untrained if u != run)
                beyond = self._value(run, family, blocks) - floor
                if beyond <= NEAR:
                    return f"{run} is {beyond:+.3f} nearer to its own family than untrained networks, needed {NEAR:+g}"
        return ""


def _nearest(measure: Measure, model: str, family: Mapping[str, Sequence[str]], blocks: Sequence[int]) -> Estimate:
    return max((_similarity(measure, model, runs, blocks) for runs in family.values()), key=_value)


def _similarity(measure: Measure, model: str, runs: Sequence[str], blocks: Sequence[int]) -> Estimate:
    """Similarity to a method, mean over its runs; a run is left out of its own method unless it is the only one."""
    others = [run for run in runs if run != model] or list(runs)
    return mean([measure(model, run).same_depth(blocks) for run in others])


def verdict(
    whole: Mapping[str, Decision], thirds: Mapping[str, Decision], findings: Mapping[str, Decision] | None = None
) -> Decision:
    """One decision from several measures and findings: the answer of more than half of those that are calibrated.

    INCONCLUSIVE where no answer has more than half, or where a measure says the opposite family, for all blocks or for a third
    of the depth. UNCALIBRATED where no measure is calibrated, whatever the findings say.
    """
    if all(part.state is State.UNCALIBRATED for part in whole.values()):
        return undecided(State.UNCALIBRATED, "no measure tells the families and untrained networks apart")
    asked = {**whole, **(findings or {})}
    readable = {name: part.state for name, part in asked.items() if part.state not in NO_NUMBER}
    state, count = Counter(readable.values()).most_common(1)[0]
    opposite = {State.JE_LIKE: State.REC_LIKE, State.REC_LIKE: State.JE_LIKE}.get(state)
    against = [name for name, part in {**whole, **thirds}.items() if part.state is opposite]
    said = f"{state} by {count} of the {len(readable)} measures and findings that can be read: "
    said += ", ".join(f"{name} {own}" for name, own in readable.items())
    unread = [name for name, part in (findings or {}).items() if part.state is State.MISSING]
    if unread:
        said += f"; not measured: {', '.join(unread)}"
    if against:
        return _without_number(State.INCONCLUSIVE, f"{said}; {opposite} by {', '.join(against)}")
    return _without_number(state if 2 * count > len(readable) else State.INCONCLUSIVE, said)


def _without_number(state: State, reason: str) -> Decision:
    return Decision(state, None, None, None, None, None, reason)


def _value(estimate: Estimate) -> float:
    return estimate.value
