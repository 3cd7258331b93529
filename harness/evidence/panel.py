"""The pre-training runs on which a claim about methods is decided, and the effect that seeds alone give.

A claim names methods as roles. For each replicate, one run of each method is assigned to its role, so that one function decides
on every replicate. It also decides with runs of one method in all roles, where no difference is due to the method. The largest
effect found there raises the margin for SUPPORTED alone: REFUTED is read against the claim's own margin.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Protocol

from harness.evidence.claim import Claim, Inputs
from harness.evidence.decide import NO_NUMBER, Decision, State
from harness.evidence.instrument import Instrument
from harness.params.models import start_of

Assignment = Mapping[str, str]

_SEEDS = "seeds differ as much"

# Fewer units are a sample of nothing: their bootstrap intervals cover too little.
FEWEST_UNITS = 8


class Run(Protocol):
    """A claim's rule, decided on an assignment."""

    def __call__(self, assignment: Assignment, margin: float | None, *, values_only: bool = False) -> Decision:
        """margin: in the place of the claim's own. values_only: only the excess matters, so that few draws do."""
        ...


@dataclass(frozen=True)
class Panel:
    """Decides claims on the runs of each method that a profile has, read with its instrument.

    further: runs of methods that some claims name and no measure is calibrated by, such as MSN.
    """

    instrument: Instrument
    further: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def runs(self) -> Mapping[str, Sequence[str]]:
        """The pre-training runs of each method, by its name."""
        return self.instrument.runs

    @property
    def methods(self) -> Mapping[str, Sequence[str]]:
        """Those runs, and those of further methods."""
        return {**self.runs, **self.further}

    @property
    def untrained(self) -> Sequence[str]:
        """Networks without training."""
        return self.instrument.untrained

    def decide(self, stated: Claim, run: Run, inputs: Inputs, fixtures: Collection[str]) -> Decision:
        """The claim's verdict on all replicates; where the instrument cannot tell, UNCALIBRATED, with the first one's numbers.

        fixtures: names of what the claim reads, among them its measure.
        """
        each, note = self._on_each_run(stated, run, inputs, fixtures)
        return _require_units(agreed(each, note) if len(each) > 1 or note else each[0])

    def on_each_run(self, stated: Claim, run: Run, inputs: Inputs, fixtures: Collection[str]) -> list[Decision]:
        """The claim's decision on each replicate by itself; a single one where no replicate may be asked. As `decide`."""
        return self._on_each_run(stated, run, inputs, fixtures)[0]

    def _on_each_run(self, stated: Claim, run: Run, inputs: Inputs, fixtures: Collection[str]) -> tuple[list[Decision], str]:
        """The decisions, and what was found of the margin, if anything."""
        first = run({}, stated.margin)
        if stated.about != "methods" or first.state in NO_NUMBER:
            return [first], ""
        roles = [role for role in self.methods if role in inputs.roles]
        assignments = self._replicates(roles)
        inputs.record_runs(len(assignments))
        found, blind = self._calibrated(stated, run, fixtures, assignments, inputs.roles)
        inputs.instrument = "; ".join(found)
        if blind:
            return [_uncalibrated(first, inputs.instrument)], ""
        own = [run(assignment, stated.margin) for assignment in assignments]
        if stated.asks != "difference" or stated.margin is None:
            return own, ""
        null = self._null(run, roles, stated.margin)
        if null is None and stated.margin == 0:
            return [_uncalibrated(first, "direction alone, and no replicates to say what one method differs by")], ""
        if null is None or null[0] < 0:
            return own, ""
        raised = stated.margin + null[0]
        note = f"margin for SUPPORTED raised from {stated.margin:.4g} to {raised:.4g}, which {null[1]} give in all roles"
        if all(decision.state is State.REFUTED for decision in own):
            return own, note
        bar = f"no more than runs of one method give, {raised:.4g} for {null[1]}"
        barred = [_with_raised_margin(part, run(runs, raised), bar) for part, runs in zip(own, assignments, strict=True)]
        return barred, note

    def _replicates(self, roles: Sequence[str]) -> list[Assignment]:
        """Run i of every method in its own role, for as many i as all of them have."""
        methods = self.methods
        return [{role: methods[role][i] for role in roles} for i in range(min(len(methods[role]) for role in roles))]

    def _calibrated(
        self, stated: Claim, run: Run, fixtures: Collection[str], assignments: Sequence[Assignment], asked: Collection[str]
    ) -> tuple[list[str], bool]:
        """The calibration in sentences, and whether it is too weak for the claim.

        asked: the models that the claim asks for, as it names them, fine-tuned ones too.
        """
        roles = list(assignments[0])
        said, blind = self.instrument.check_training([assignment[role] for role in roles for assignment in assignments])
        found = [said]
        names = [name for name in self.instrument.measures if name in fixtures]
        for name in [] if blind else names:
            margin = stated.margin if stated.asks == "difference" else None
            said, blind = self.instrument.check_range(name, stated.blocks, margin or 0.0)
            found.append(said)
        if names and stated.asks in ("level", "match") and not blind:
            said, blind = self._anchored(stated, run, roles, asked)
            found.append(said)
        return found, blind

    def _anchored(self, stated: Claim, run: Run, roles: Sequence[str], asked: Collection[str]) -> tuple[str, bool]:
        """Whether the rule separates runs of one method from a trained and an untrained network.

        A level must lie between the two; a share of matches must pass for the ones and not for the others.
        """
        if not self.untrained:
            return "no untrained network to compare with", True
        level = stated.asks == "level"
        alike = [run(assignment, stated.margin, values_only=level) for assignment in self._alike(roles)]
        apart = [run(assignment, stated.margin, values_only=level) for assignment in self._apart(roles, asked)]
        excesses = [[part.excess for part in side if part.excess is not None] for side in (alike, apart)]
        lacking = [part for side in (alike, apart) for part in side if part.excess is None]
        if lacking:
            return f"the anchors have no number: {lacking[0].reason}", True
        if level:
            one, other = (sum(side) / len(side) for side in excesses)
            said = f"anchors, from the level: {one:+.3f} for runs of one method"
            return f"{said}, {other:+.3f} for a trained and an untrained network", (one > 0) == (other > 0)
        one, other = (sum(part.state is State.SUPPORTED for part in side) for side in (alike, apart))
        said = f"anchors: {one} of {len(alike)} hold for runs of one method"
        return f"{said}, {other} of {len(apart)} for a trained and an untrained network", one < len(alike) or other > 0

    def _null(self, run: Run, roles: Sequence[str], margin: float) -> tuple[float, str] | None:
        """The largest excess that runs of one method in all roles give, and the method; None without replicates."""
        found = [
            (_excess(run(assignment, margin, values_only=True)), f"runs of {name}")
            for name, assignment in self._one_method_in_all_roles(roles)
        ]
        return max(found, default=None)

    def _one_method_in_all_roles(self, roles: Sequence[str]) -> Iterator[tuple[str, Assignment]]:
        """Every method that has a run for each role, in every order."""
        for name, runs in self.runs.items():
            for order in permutations(runs, len(roles)):
                yield name, dict(zip(roles, order, strict=True))

    def _alike(self, roles: Sequence[str]) -> list[Assignment]:
        """Runs of one method in all roles; where there are too few, one run in all of them: the largest similarity."""
        replicated = [assignment for _, assignment in self._one_method_in_all_roles(roles)]
        return replicated or [dict.fromkeys(roles, runs[0]) for runs in self.runs.values()]

    def _apart(self, roles: Sequence[str], asked: Collection[str]) -> list[Assignment]:
        """One role's own first run, and an untrained network in the others, which stays untrained where they are fine-tuned."""
        return [
            {name: other for name in asked if start_of(name) != role} | {role: self.methods[role][0]}
            for role in roles
            for other in self.untrained
        ]


def agreed(decisions: Sequence[Decision], note: str = "") -> Decision:
    """One verdict of several replicates: SUPPORTED or REFUTED where all of them are, INCONCLUSIVE otherwise.

    The numbers are those of the median replicate, by excess. A replicate that no number decides gives its state to the whole.
    """
    for state in NO_NUMBER:
        for part in decisions:
            if part.state is state:
                return part
    ordered = sorted(decisions, key=_excess)
    median = ordered[(len(ordered) - 1) // 2]
    states = {part.state for part in decisions}
    state = states.pop() if len(states) == 1 else State.INCONCLUSIVE
    reasons = [part.reason for part in decisions]
    if len(decisions) > 1:
        reasons = [f"run {i} {part.state}: {part.reason}" for i, part in enumerate(decisions, start=1)]
    doubts = {part.doubt for part in decisions if part.state is State.INCONCLUSIVE}
    # Runs may lack certainty for one and the same cause; where some of them decide, they disagree.
    doubt = doubts.pop() if len(doubts) == 1 and all(part.doubt for part in decisions) else "runs disagree"
    doubt = doubt if state is State.INCONCLUSIVE else ""
    return replace(median, state=state, reason="; ".join(([note] if note else []) + reasons), doubt=doubt)


def _with_raised_margin(own: Decision, raised: Decision, bar: str) -> Decision:
    """One run's decision, whose SUPPORTED is read against the raised margin and whose REFUTED against the claim's own.

    own, raised: the decisions at the two margins. bar: the reason where only the raised margin was missed.
    """
    if own.state in NO_NUMBER:
        return own
    if raised.state is State.SUPPORTED:
        return raised
    if own.state is State.SUPPORTED:
        return replace(raised, state=State.INCONCLUSIVE, reason=f"{bar}: {raised.reason}", doubt=_SEEDS)
    return replace(raised, state=own.state, reason=own.reason, doubt=own.doubt)


def _uncalibrated(first: Decision, reason: str) -> Decision:
    """The first replicate's numbers, which decide nothing."""
    return replace(first, state=State.UNCALIBRATED, reason=reason, p_support=None, p_refute=None, excess=None, doubt="")


def _require_units(decision: Decision) -> Decision:
    """No verdict from fewer than FEWEST_UNITS resampled units."""
    if decision.state in (State.SUPPORTED, State.REFUTED) and decision.n is not None and decision.n < FEWEST_UNITS:
        few = f"{decision.n} {decision.unit} are too few to decide, needed {FEWEST_UNITS}"
        doubt = f"too few {decision.unit}"
        return replace(decision, state=State.INCONCLUSIVE, reason=f"{few}; {decision.reason}", doubt=doubt)
    return decision


def _excess(decision: Decision) -> float:
    # A rule without a number says nothing of what replicates differ by, and its own state is read elsewhere.
    return float("-inf") if decision.excess is None else decision.excess
