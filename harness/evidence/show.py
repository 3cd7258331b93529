"""What a user sees of verdicts: the table at the end of a run, and the text of one claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.evidence.record import Record

STATES = ("SUPPORTED", "REFUTED", "INCONCLUSIVE", "MISSING", "UNCALIBRATED", "NO_EVIDENCE", "INVALID")
# The states that rest on a number.
NUMBERS = STATES[:3]
# Fewer pre-training runs leave a verdict about methods provisional.
RUNS = 3
YELLOW = {"yellow": True}
_COLOURS = {"SUPPORTED": {"green": True}, "REFUTED": {"red": True}, "INVALID": {"red": True}}


def colour(state: str) -> dict[str, bool]:
    """A state's colour, as pytest's terminal writer takes it."""
    return _COLOURS.get(state, YELLOW)


def table(terminal: Any, records: Sequence[Record]) -> None:
    """Write the verdict table, and why claims have no number, to pytest's terminal reporter."""
    terminal.section("verdicts")
    found = {(record.source, part) for record in records for part in record.instrument.split("; ") if " range " in part}
    for source, part in sorted(found):
        terminal.write_line(f"instrument ({source}): {part}")
    rows = [_row(record) for record in records]
    head = ("verdict", "claim", "estimate", "95 % interval", "margin", "n", "source", "statement")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head) - 1)]
    terminal.write_line("  ".join(text.ljust(width) for text, width in zip(head, [*widths, 0], strict=True)))
    for record, row in zip(records, rows, strict=True):
        terminal.write(row[0].ljust(widths[0]), **colour(record.state))
        rest = zip(row[1:], [*widths[1:], 0], strict=True)
        terminal.write_line("  " + "  ".join(text.ljust(width) for text, width in rest))
    if any(record.provisional for record in records):
        terminal.write_line(f"* provisional: about methods, from fewer than {RUNS} pre-training runs of each")
    counts = {state: sum(record.state == state for record in records) for state in STATES}
    terminal.write_line(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    alike: dict[tuple[str, str, str], list[str]] = {}
    for record in records:
        if record.state not in NUMBERS:
            alike.setdefault((record.state, record.source, _one_line(record.reason)), []).append(record.id)
    for (state, source, reason), ids in alike.items():
        terminal.write_line(f"{state} {', '.join(ids)} ({source}): {reason}")
    if nothing_measured(records):
        terminal.write_line("nothing could be decided: run dvc repro, then pytest claims")


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
        _, _, *numbers = _row(record)[:6]
        lines.append("  estimate {}, interval {}, margin {}, n = {}".format(*numbers))
    if record.instrument:
        lines.append(f"  instrument: {record.instrument}")
    artifacts = record.provenance.get("artifacts", {})
    lines += [f"  read: {path} {sha[:12]}" for path, sha in artifacts.items()]
    if record.provenance.get("replicates") is not None:
        lines.append(f"  pre-training replicates: {record.provenance['replicates']}")
    return "\n".join(lines)


def _one_line(reason: str) -> str:
    return "; ".join(line.strip() for line in reason.splitlines() if line.strip())


def _row(record: Record) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}"

    interval = "-" if record.interval is None else f"[{number(record.interval[0])}, {number(record.interval[1])}]"
    n = "-" if record.n is None else f"{record.n} {record.unit}"
    state = record.state + ("*" if record.provisional else "")
    return state, record.id, number(record.estimate), interval, number(record.margin), n, record.source, record.statement
