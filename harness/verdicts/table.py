"""The verdict table at the end of a run: in the paper's order, no wider than the terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from harness.verdicts import show

if TYPE_CHECKING:
    from harness.verdicts.record import Record

HEAD = ("verdict", "claim", "estimate", "95 % interval", "margin", "n", "source", "statement")
# Characters of a statement that are worth showing, and for which n gives way.
LEAST, ENOUGH = 20, 40
_RANGE = re.compile(r"(\S+) range(?: over (blocks \S+))? (\S+ \[.*?\])")
_PART = re.compile(r"(Fig\.|Table) ([A-Z]?)(\d+)")


def write(terminal: Any, records: Sequence[Record], width: int, *, whole: bool = False) -> None:
    """Write the verdicts, and why claims have none, to pytest's terminal reporter, in lines of at most `width` characters.

    whole: statements and reasons in full. Else statements are cut, and of what an instrument shows the last sentence stays.
    """
    terminal.section("verdicts")
    for source, name, told in ranges(records):
        _wrapped(terminal, f"instrument ({source}): {name} range {told}", width)
    shown = sorted((record for record in records if record.state != "MISSING"), key=order)
    if shown:
        _rows(terminal, shown, width, whole)
    if any(record.provisional for record in records):
        _wrapped(terminal, f"* provisional: about methods, from fewer than {show.RUNS} pre-training runs of each", width)
    counts = {state: sum(record.state == state for record in records) for state in show.STATES}
    _wrapped(terminal, ", ".join(f"{count} {state}" for state, count in counts.items() if count), width)
    alike: dict[tuple[str, str, str], list[str]] = {}
    for record in records:
        if record.state not in show.NUMBERS:
            reason = "; ".join(line.strip() for line in record.reason.splitlines() if line.strip())
            if record.state == "UNCALIBRATED" and not whole:
                reason = reason.rpartition("; ")[2]
            alike.setdefault((record.state, record.source, reason), []).append(record.id)
    for (state, source, reason), ids in alike.items():
        _wrapped(terminal, f"{state} {', '.join(ids)} ({source}): {reason}", width)
    if show.nothing_measured(records):
        _wrapped(terminal, "nothing could be decided: run dvc repro, then pytest claims", width)


def ranges(records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """What the instrument can tell: source, measure, and its range over the blocks of each claim."""
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for record in records:
        for name, blocks, value in _RANGE.findall(record.instrument):
            found.setdefault((record.source, name), set()).add((blocks, value))
    return [
        (source, name, ", ".join(f"{blocks} {value}".strip() for blocks, value in sorted(values)))
        for (source, name), values in sorted(found.items())
    ]


def _rows(terminal: Any, records: Sequence[Record], width: int, whole: bool) -> None:
    rows = [show.row(record) for record in records]
    sources = len({record.source for record in records})
    wide = {name: max(len(row[i]) for row in [HEAD, *rows]) for i, name in enumerate(HEAD[:-1])}
    kept = [name for name in wide if name != "source" or sources > 1]
    if width - _taken(kept, wide) < ENOUGH:
        kept.remove("n")
    room = 0 if whole else width - _taken(kept, wide)
    terminal.write_line(_line([*(name.ljust(wide[name]) for name in kept), "statement" if room >= LEAST else ""]))
    above = ""
    for title, group in groupby(zip(records, rows, strict=True), lambda pair: heading(pair[0].where)):
        terminal.write_line(title[:width], bold=True)
        for record, row in group:
            cells = dict(zip(HEAD, row, strict=True))
            base, _, second = record.id.partition("/")
            if second and base == above:
                cells |= {"claim": f"  /{second}", "statement": ""}
            terminal.write(cells["verdict"].ljust(wide["verdict"]), **show.colour(record.state))
            statement = textwrap.shorten(cells["statement"], room, placeholder="...") if room >= LEAST else ""
            terminal.write_line("  " + _line([*(cells[name].ljust(wide[name]) for name in kept[1:]), statement]))
            if whole and cells["statement"]:
                _wrapped(terminal, "  " + cells["statement"], width)
            above = base


def _taken(names: Sequence[str], wide: dict[str, int]) -> int:
    """What these columns take, and the two blanks behind each."""
    return sum(wide[name] + 2 for name in names)


def _line(cells: Sequence[str]) -> str:
    return "  ".join(cells).rstrip()


def _wrapped(terminal: Any, text: str, width: int) -> None:
    for line in textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False):
        terminal.write_line(line)


def _section(where: str) -> str:
    return re.split("[,;]", where)[0].strip()


def heading(where: str) -> str:
    """The figure or table that a claim stands in, and its section; the section alone where it stands in none."""
    part, section = _PART.search(where), _section(where)
    if part is None:
        return section if len(section) > 1 and not section[0].isdigit() else f"section {section}"
    label = "".join(part.groups()[1:])
    return f"{part[1]} {label}" + ("" if section.startswith(part[1]) else f" ({section})")


def order(record: Record) -> tuple[object, ...]:
    """By section, the abstract first and appendices last; then by figure, then by table; second measures behind their claim."""
    section, part = _section(record.where), _PART.search(record.where)
    numbers = tuple(int(number) for number in re.findall(r"\d+", section))
    rank = 0 if not numbers and len(section) > 1 else 1 if section[0].isdigit() else 2
    place = (part[1], bool(part[2]), int(part[3])) if part else ("", False, 0)
    base, _, second = record.id.partition("/")
    return rank, "" if rank == 1 else section[:1], numbers, place, heading(record.where), base, second, record.source
