"""Findings of the paper about single models: whether a model behaves as JE models do, as REC models do, or as neither.

The rule was fixed before any model was judged. A finding is one number of a model that, by the paper, is higher in one family.
Where the runs of the two families are separated in that direction by more than noise, the cut is the midpoint between their
nearest runs. A model belongs to the family on whose side of the cut its whole interval lies. It belongs to neither where the
interval lies beyond all runs of both families by more than half of the separation. Where the families are not separated, no
model is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.evidence.claim import undecided
from harness.evidence.decide import Decision, State
from harness.evidence.estimate import Estimate


@dataclass(frozen=True)
class Finding:
    """value: a model's name to its number. je, rec: runs of the families. higher: the family with the higher number."""

    value: Callable[[str], Estimate]
    je: Sequence[str]
    rec: Sequence[str]
    higher: Literal[State.JE_LIKE, State.REC_LIKE]

    def of(self, model: str) -> Decision:
        """The family that the model behaves like, or UNCALIBRATED. The estimate is its number, the margin the cut.

        A run is left out of its own family unless it is the only one there.
        """
        families = [[run for run in runs if run != model] or runs for runs in (self.je, self.rec)]
        high, low = families if self.higher is State.JE_LIKE else families[::-1]
        top, bottom = ([(self.value(run), run) for run in runs] for runs in (high, low))
        least, most = min(top, key=_number), max(bottom, key=_number)
        parted = least[0] - most[0]
        if parted.interval()[0] <= 0:
            names = ("JE", "REC") if self.higher is State.JE_LIKE else ("REC", "JE")
            seen = f"{least[1]} has {least[0].value:+.2f}, {most[1]} {most[0].value:+.2f}"
            said = f"by the paper {names[0]} models are above {names[1]} models, and these runs are not separated so: {seen}"
            return undecided(State.UNCALIBRATED, said)
        own, half = self.value(model), parted.value / 2
        cut, floor, ceiling = most[0].value + half, min(map(_number, bottom)) - half, max(map(_number, top)) + half
        beneath, above = own.interval()
        other = State.REC_LIKE if self.higher is State.JE_LIKE else State.JE_LIKE
        if beneath > ceiling or above < floor:
            state: State = State.NEITHER
        elif beneath > cut:
            state = self.higher
        elif above < cut:
            state = other
        else:
            state = State.INCONCLUSIVE
        reason = f"{own.value:+.2f}; {self.higher} from {cut:+.2f} to {ceiling:+.2f}, {other} from {floor:+.2f}"
        return Decision(state, own.value, (beneath, above), cut, own.n, own.unit, reason)


def _number(run: tuple[Estimate, str]) -> float:
    return run[0].value
