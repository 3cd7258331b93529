"""What a user sees of verdicts: their colours, the cells of a row, and the text of one claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.verdicts.record import Record

# The states that rest on a number, and of them those that tell what a model is like.
FAMILY_STATES = ("JE-LIKE", "REC-LIKE", "NEITHER")
NUMBERS = ("SUPPORTED", "REFUTED", *FAMILY_STATES, "INCONCLUSIVE")
STATES = (*NUMBERS, "MISSING", "UNCALIBRATED", "NO_EVIDENCE", "INVALID")
# Fewer pre-training runs leave a verdict about methods provisional.
RUNS = 3
LETTERS = {
    "SUPPORTED": "S",
    "REFUTED": "R",
    "JE-LIKE": "J",
    "REC-LIKE": "E",
    "NEITHER": "O",
    "INCONCLUSIVE": "I",
    "MISSING": "M",
    "UNCALIBRATED": "U",
    "NO_EVIDENCE": "N",
    "INVALID": "X",
}
# What the reason of a refuted claim says where a reversal records it.
KNOWN = "known since"
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


def numbers(record: Record, room: int | None = None) -> str:
    """Estimate, interval, margin and what they are measured in: "0.58 [0.57, 0.59] > 0.6 CKA", in parentheses where they
    decide nothing. Empty where nothing was measured.

    room: characters; where there are fewer the quantity is left out.
    """
    if record.estimate is None:
        return ""
    low, high = record.interval or (record.estimate, record.estimate)
    sign = {"above": "> ", "below": "< ", "within": "within +-"}.get(record.direction or "", "")
    margin = "" if record.margin is None or not sign else f" {sign}{_short(record.margin)}"
    places = _places(low, high)
    value, low_text, high_text = (f"{number:.{places}f}" for number in (record.estimate, low, high))
    text = f"{value} [{low_text}, {high_text}]{margin}"
    whole, form = f"{text} {record.quantity}".rstrip(), "{}" if record.state in NUMBERS else "({})"
    return form.format(whole if room is None or len(form.format(whole)) <= room else text)


def without_number(record: Record, records: Sequence[Record]) -> str:
    """Why no number decides a claim, and what its second measures say."""
    return "; ".join(text for text in (where_to_look(record), indirectly(record, records)) if text)


def where_to_look(record: Record) -> str:
    """In a few words, why no number decides."""
    words = {
        "MISSING": "not measured",
        "UNCALIBRATED": "too weak",
        "NO_EVIDENCE": "no numbers to read",
        "INVALID": "a broken artifact",
    }
    return words.get(record.state, record.doubt)


def indirectly(record: Record, records: Sequence[Record]) -> str:
    """Where no number decides a claim, what its second measures say if they agree ("indirectly SUPPORTED"), else nothing."""
    if record.state in NUMBERS:
        return ""
    start = f"{record.id}/"
    states = {one.state for one in records if one.source == record.source and one.id.startswith(start) and one.state in NUMBERS}
    return f"indirectly {states.pop()}" if len(states) == 1 else ""


def letter(record: Record) -> str:
    """A state's letter; V for REFUTED as a reversal records it."""
    if record.state == "REFUTED" and KNOWN in record.reason:
        return "V"
    return LETTERS[record.state]


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1g}"


def _places(low: float, high: float) -> int:
    """Decimals at which half of the interval has two digits."""
    half = (high - low) / 2
    return 3 if half <= 0 else min(6, max(0, 1 - math.floor(math.log10(half))))


def row(record: Record) -> tuple[str, ...]:
    """State, id, estimate, interval, margin, n, source and statement."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}"

    interval = "-" if record.interval is None else f"[{number(record.interval[0])}, {number(record.interval[1])}]"
    n = "-" if record.n is None else f"{record.n} {record.unit}"
    state = record.state + ("*" if record.provisional else "")
    return state, record.id, number(record.estimate), interval, number(record.margin), n, record.source, record.statement
