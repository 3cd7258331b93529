"""Whether the largest of many quantities lies below a margin."""

from __future__ import annotations

from collections.abc import Sequence

from harness.evidence.decide import Decision, State, below, numbers_in_words
from harness.evidence.estimate import Estimate

# Five units lie all on one side of their mean more often than 1 time in 40, and no bootstrap draw lies beyond them.
_FEWEST = 6


def greatest_below(
    quantities: Sequence[Estimate], choose: Sequence[Estimate], judge: Sequence[Estimate], margin: float, level: float = 0.95
) -> Decision:
    """Whether the largest of several quantities lies below the margin.

    quantities: each on all units. choose, judge: each on some of the units, and on the others. The witness is the quantity that
    is largest in choose, as judge measures it: its lower limit is a limit for the largest of all, whichever that is.

    SUPPORTED when `below` supports it for each quantity: an intersection-union test (Berger, 1982), which needs no correction
    for their number. REFUTED when `below` refutes the witness, from six units on; INCONCLUSIVE otherwise. The maximum itself is
    never resampled: noise raises it in a sample and once more in every draw, so that its bootstrap interval does not cover.

    The interval goes from the witness's lower limit to the largest upper limit. The estimate is the largest value on all units,
    which noise raises. Raises InvalidInput on a non-finite margin or a level outside (0, 1).
    """
    chosen = max(range(len(choose)), key=lambda i: choose[i].value)
    witness = judge[chosen]
    parts, judged = [below(one, margin, level) for one in quantities], below(witness, margin, level)
    largest = max(quantities, key=lambda one: one.value)
    open_parts = [part for part in parts if part.state is not State.SUPPORTED]
    limits = [part.interval for part in (judged, *parts) if part.interval]
    low, high = limits[0][0], max(limit[1] for limit in limits[1:])
    reason = f"largest of {len(parts)}: {numbers_in_words(largest, low, high, level)}; claimed below {margin:.4g}"
    state, doubt = State.INCONCLUSIVE if open_parts else State.SUPPORTED, ""
    enough = witness.n >= _FEWEST
    if open_parts and judged.state is State.REFUTED:
        if enough:
            state = State.REFUTED
        else:
            doubt = f"too few {witness.unit} to refute"
            reason += f"; {doubt}: {witness.n}, needed {_FEWEST}"
    elif any(part.state is State.REFUTED for part in open_parts):
        doubt = f"another one is the largest on other {witness.unit}"
        reason += f"; not so for the one that was largest on other {witness.unit}: {judged.reason}"
    elif open_parts:
        weakest = max(open_parts, key=lambda part: part.p_support or 0.0)
        doubt = weakest.doubt
        reason += f"; weakest: {weakest.reason}"
    return Decision(
        state,
        largest.value,
        (low, high),
        margin,
        largest.n,
        largest.unit,
        reason,
        p_support=max(part.p_support or 0.0 for part in parts),
        p_refute=judged.p_refute if enough else 1.0,
        excess=margin - largest.value,
        direction="below",
        doubt=doubt,
    )
