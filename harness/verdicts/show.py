"""What a user sees of verdicts: their colours, the cells of a row, and the text of one claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.verdicts.record import Record

# The states that rest on a number, and of them those that tell what a model is like.
KIN = ("JE-LIKE", "REC-LIKE", "NEITHER")
NUMBERS = ("SUPPORTED", "REFUTED", *KIN, "INCONCLUSIVE")
STATES = (*NUMBERS, "MISSING", "UNCALIBRATED", "NO_EVIDENCE", "INVALID")
# Fewer pre-training runs leave a verdict about methods provisional.
RUNS = 3
YELLOW = {"yellow": True}
_COLOURS = {"SUPPORTED": {"green": True}, "REFUTED": {"red": True}, "INVALID": {"red": True}}


def colour(state: str) -> dict[str, bool]:
    """A state's colour, as pytest's terminal writer takes it."""
    return _COLOURS.get(state, YELLOW)


def nothing_measured(records: Sequence[Record]) -> bool:
    """Whether something is missing and nothing rests on a number."""
    states = {record.state for record in records}
    return "MISSING" in states and not states & set(NUMBERS)


def text(record: Record) -> str:
    """A verdict in full: claim, reading, numbers, and the artifacts that it was read from."""
    lines = [
        f"{record.state} {record.id} ({record.source}; {record.where})",
        f"  claim: {record.statement}",
        f"  reading: {record.reading}",
        f"  {record.reason}",
    ]
    if record.estimate is not None:
        _, _, *numbers = row(record)[:6]
        lines.append("  estimate {}, interval {}, margin {}, n = {}".format(*numbers))
    if record.instrument:
        lines.append(f"  instrument: {record.instrument}")
    artifacts = record.provenance.get("artifacts", {})
    lines += [f"  read: {path} {sha[:12]}" for path, sha in artifacts.items()]
    blocks = record.provenance.get("blocks", {})
    lines += [f"  {model} has {n} blocks, each of the twelve is read at its share of the depth" for model, n in blocks.items()]
    if record.provenance.get("replicates") is not None:
        lines.append(f"  pre-training replicates: {record.provenance['replicates']}")
    return "\n".join(lines)


def row(record: Record) -> tuple[str, ...]:
    """State, id, estimate, interval, margin, n, source and statement."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}"

    interval = "-" if record.interval is None else f"[{number(record.interval[0])}, {number(record.interval[1])}]"
    n = "-" if record.n is None else f"{record.n} {record.unit}"
    state = record.state + ("*" if record.provisional else "")
    return state, record.id, number(record.estimate), interval, number(record.margin), n, record.source, record.statement
