"""From an estimate and a margin to a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput
from harness.evidence.estimate import Estimate


class State(StrEnum):
    """The state of a claim or of a judged model; in the last four no number decides."""

    SUPPORTED = "SUPPORTED"
    REFUTED = "REFUTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    JE_LIKE = "JE-LIKE"
    REC_LIKE = "REC-LIKE"
    NEITHER = "NEITHER"
    INVALID = "INVALID"
    MISSING = "MISSING"
    UNCALIBRATED = "UNCALIBRATED"
    NO_EVIDENCE = "NO_EVIDENCE"


Direction = Literal["above", "below", "within"]

_STRADDLES = "the interval includes the margin"

# Most urgent first: a broken file hides what a missing one would show.
NO_NUMBER = (State.INVALID, State.MISSING, State.UNCALIBRATED, State.NO_EVIDENCE)


@dataclass(frozen=True)
class Decision:
    """A state with the numbers that led to it.

    estimate, interval (two-sided, at the decision's level) and margin share one unit of measurement; n counts the
    resampled units and unit names them. Of UNCALIBRATED they are measured and decide nothing; of the other states that no
    number decides they are None. reason: one sentence for the reader.
    p_support, p_refute: one-sided p-values for the claim and for its opposite, each against (1 - level) / 2, except
    p_support of an equivalence, against 1 - level. excess: how far the estimate lies beyond the margin on the claimed side,
    negative on the other; of a rule with several parts the least. direction: on which side of the margin the claim puts the
    estimate: above, below, or within (of 0, either way). doubt: of INCONCLUSIVE the cause in a few words.
    """

    state: State
    estimate: float | None
    interval: tuple[float, float] | None
    margin: float | None
    n: int | None
    unit: str | None
    reason: str
    p_support: float | None = None
    p_refute: float | None = None
    excess: float | None = None
    direction: Direction | None = None
    doubt: str = ""


def exceeds(estimate: Estimate, margin: float, level: float = 0.95) -> Decision:
    """Whether the quantity lies above the margin.

    SUPPORTED when the interval lies wholly above it, REFUTED when wholly at or below it, INCONCLUSIVE otherwise, and
    INCONCLUSIVE when leaving out one unit moves the estimate to the other side. margin: in the estimate's unit.
    Raises InvalidInput on a non-finite margin or a level outside (0, 1).
    """
    _check(margin)
    low, high = estimate.interval(level)
    state = _state(supported=low > margin, refuted=high <= margin)
    decision = Decision(
        state,
        estimate.value,
        (low, high),
        margin,
        estimate.n,
        estimate.unit,
        f"{numbers_in_words(estimate, low, high, level)}; claimed above {margin:.4g}",
        p_support=estimate.p_above(margin),
        p_refute=(-estimate).p_above(-margin, or_equal=True),
        excess=estimate.value - margin,
        direction="above",
        doubt=_STRADDLES if state is State.INCONCLUSIVE else "",
    )
    return _guard(decision, estimate.jackknife, lambda values: values > margin)


def below(estimate: Estimate, margin: float, level: float = 0.95) -> Decision:
    """Whether the quantity lies below the margin: `exceeds` mirrored, so REFUTED when wholly at or above it."""
    _check(margin)
    low, high = estimate.interval(level)
    state = _state(supported=high < margin, refuted=low >= margin)
    decision = Decision(
        state,
        estimate.value,
        (low, high),
        margin,
        estimate.n,
        estimate.unit,
        f"{numbers_in_words(estimate, low, high, level)}; claimed below {margin:.4g}",
        p_support=(-estimate).p_above(-margin),
        p_refute=estimate.p_above(margin, or_equal=True),
        excess=margin - estimate.value,
        direction="below",
        doubt=_STRADDLES if state is State.INCONCLUSIVE else "",
    )
    return _guard(decision, estimate.jackknife, lambda values: values < margin)


def equivalent(estimate: Estimate, margin: float, level: float = 0.95) -> Decision:
    """Whether the quantity lies strictly between -margin and margin: two one-sided tests at 1 - level each.

    SUPPORTED when the 2 level - 1 interval (90 % by default) lies inside (-margin, margin), REFUTED when the level
    interval lies wholly outside, on one side, INCONCLUSIVE otherwise or when leaving out one unit changes the answer.
    UNCALIBRATED when it is not refuted and the 2 level - 1 interval is as wide as all of (-margin, margin): so few units
    could never have supported it.
    Raises InvalidInput unless the margin is finite and positive and level is in (0.5, 1).
    """
    _check(margin)
    if margin <= 0:
        raise InvalidInput("decision", field="margin", seen=margin, expected="a positive number for an equivalence")
    if not 0.5 < level < 1:
        raise InvalidInput("decision", field="level", seen=level, expected="a number in (0.5, 1) for an equivalence")
    low, high = estimate.interval(level)
    inner = estimate.interval(2 * level - 1)
    refuted = low >= margin or high <= -margin
    if not refuted and inner[1] - inner[0] >= 2 * margin:
        wide = f"the {2 * level - 1:.0%} interval [{inner[0]:.4g}, {inner[1]:.4g}] of {estimate.n} {estimate.unit}"
        reason = f"{wide} is wider than what is called equal, {margin:.4g} either way"
        numbers = (estimate.value, (low, high), margin, estimate.n, estimate.unit)
        return Decision(State.UNCALIBRATED, *numbers, reason, direction="within")
    state = _state(supported=-margin < inner[0] and inner[1] < margin, refuted=refuted)
    decision = Decision(
        state,
        estimate.value,
        (low, high),
        margin,
        estimate.n,
        estimate.unit,
        f"{numbers_in_words(estimate, low, high, level)}; claimed within {margin:.4g} of 0, "
        f"{2 * level - 1:.0%} interval [{inner[0]:.4g}, {inner[1]:.4g}]",
        p_support=max(estimate.p_above(-margin), (-estimate).p_above(-margin)),
        p_refute=min(estimate.p_above(margin, or_equal=True), (-estimate).p_above(margin, or_equal=True)),
        excess=margin - abs(estimate.value),
        direction="within",
        doubt=_STRADDLES if state is State.INCONCLUSIVE else "",
    )
    return _guard(decision, estimate.jackknife, lambda values: np.abs(values) < margin)


def all_of(decisions: Sequence[Decision], level: float = 0.95) -> Decision:
    """One verdict for a rule whose parts must all hold.

    SUPPORTED when every part is: a conjunction is an intersection-union test, whose error rate is at most that of
    one part, so support needs no correction. REFUTED when some part is and its p_refute survives Holm's correction over
    all parts, since each part is one more chance to refute; this needs more than 2 k / (1 - level) draws for k parts.
    INCONCLUSIVE otherwise. A part where no number may decide gives its own state to the whole.
    The numbers are those of the deciding part: the strongest refutation, or else the weakest support.
    Raises InvalidInput when there are no parts, a part lacks its p-values, or level is not in (0, 1).
    """
    if not decisions:
        raise InvalidInput("decision", field="parts", seen="none", expected="at least one")
    if not 0 < level < 1:
        raise InvalidInput("decision", field="level", seen=level, expected="a number in (0, 1)")
    for state in NO_NUMBER:
        for part in decisions:
            if part.state is state:
                return part
    if len(decisions) == 1:
        return decisions[0]
    support, refute = [_p_values(decisions, field) for field in ("p_support", "p_refute")]
    corrected = holm(refute)
    refuted = [i for i, part in enumerate(decisions) if part.state is State.REFUTED and corrected[i] <= (1 - level) / 2]
    supported = all(part.state is State.SUPPORTED for part in decisions)
    unsupported = [i for i, part in enumerate(decisions) if supported or part.state is not State.SUPPORTED]
    deciding = min(refuted, key=lambda i: refute[i]) if refuted else max(unsupported, key=lambda i: support[i])
    parts = "; ".join(f"({i}) {part.state}: {part.reason}" for i, part in enumerate(decisions, start=1))
    state = _state(supported=supported, refuted=bool(refuted))
    # A part that is refuted by itself and not after the correction has no doubt of its own.
    doubt = decisions[deciding].doubt or "too weak among several parts"
    return replace(
        decisions[deciding],
        state=state,
        reason=f"decided by part {deciding + 1} of {len(decisions)}: {parts}",
        p_support=max(support),
        p_refute=min(corrected),
        excess=min((part.excess for part in decisions if part.excess is not None), default=None),
        doubt=doubt if state is State.INCONCLUSIVE else "",
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected by Holm's step-down procedure (1979): the k-th smallest of m times m - k + 1, never decreasing.

    statsmodels' multipletests, which the tests compare with, takes longer to import than all claims to decide.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return [float(value) for value in corrected]


def controlled(decision: Decision, control: Decision, what: str) -> Decision:
    """The decision, unless it says no more than its control: SUPPORTED becomes INCONCLUSIVE when the control is too.

    control: the same rule where the claimed cause is absent, e.g. on untrained networks; what: its name, in the plural.
    """
    if {decision.state, control.state} != {State.SUPPORTED}:
        return decision
    shared = f"holds for {what} too: input structure ({control.reason})"
    doubt = f"holds for {what} too"
    return replace(decision, state=State.INCONCLUSIVE, reason=f"{decision.reason}; {shared}", doubt=doubt)


def _p_values(decisions: Sequence[Decision], field: str) -> list[float]:
    values = [getattr(part, field) for part in decisions]
    if any(value is None for value in values):
        raise InvalidInput("decision", field=field, seen=None, expected="a p-value for each part that a number decides")
    return values


def _guard(
    decision: Decision, jackknife: NDArray[np.float64] | None, claimed: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
) -> Decision:
    """INCONCLUSIVE in place of a decision that depends on a single unit."""
    if decision.state is State.INCONCLUSIVE or jackknife is None:
        return decision
    flips = np.flatnonzero(claimed(jackknife) != (decision.state is State.SUPPORTED))
    if not flips.size:
        return decision
    unit = int(flips[0])
    hangs = f"{decision.state} hangs on one of the {decision.unit}: without number {unit} it is {jackknife[unit]:.4g}"
    doubt = f"one of the {decision.unit} decides"
    return replace(decision, state=State.INCONCLUSIVE, reason=f"{decision.reason}; {hangs}", doubt=doubt)


def _state(*, supported: bool, refuted: bool) -> State:
    if supported:
        return State.SUPPORTED
    return State.REFUTED if refuted else State.INCONCLUSIVE


def numbers_in_words(estimate: Estimate, low: float, high: float, level: float) -> str:
    """The value, its interval from low to high at the level, and the number of units."""
    return f"{estimate.value:.4g}, {level:.0%} interval [{low:.4g}, {high:.4g}], n = {estimate.n} {estimate.unit}"


def _check(margin: float) -> None:
    if not math.isfinite(margin):
        raise InvalidInput("decision", field="margin", seen=margin, expected="a finite number")
