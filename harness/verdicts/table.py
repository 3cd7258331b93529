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

# Characters of a title that are worth showing beside its numbers.
ENOUGH = 24
_RANGE = re.compile(r"(\S+) range(?: over (blocks \S+))? (\S+ \[.*?\])")
_PART = re.compile(r"(Fig\.|Table) ([A-Z]?)(\d+)")
LEGEND = (
    "S supported, R refuted, V refuted as recorded in reversals.toml, I inconclusive, U uncalibrated (numbers in parentheses "
    "decide nothing), M missing, N no evidence"
)

LEGEND_OF_MODELS = "J like joint embeddings, E like reconstructions, O like neither, I inconclusive, U uncalibrated, M missing"


def write(terminal: Any, records: Sequence[Record], width: int, *, whole: bool = False) -> None:
    """Write the verdicts to pytest's terminal reporter, in lines of at most `width` characters: a line for each claim, then
    why claims have none, and the main findings and the counts last, where they stay on the screen.

    whole: statements and reasons in full, and a line for every second measure.
    """
    terminal.section("verdicts")
    judged = any(record.state in show.FAMILY_STATES for record in records)
    _wrapped(terminal, LEGEND_OF_MODELS if judged else LEGEND, width)
    if whole:
        for source, name, values in ranges(records):
            told = ", ".join(f"{blocks} {value}".strip() for blocks, value in values)
            _wrapped(terminal, f"instrument ({source}): {name} range {told}", width)
    for source, of_source in groupby(sorted(records, key=lambda r: r.source), lambda r: r.source):
        _source_table(terminal, source, list(of_source), width, whole)
    if any(record.provisional for record in records):
        _wrapped(terminal, f"* provisional: about methods, from fewer than {show.RUNS} pre-training runs of each", width)
    if show.nothing_measured(records):
        _wrapped(terminal, "nothing could be decided: run dvc repro, then pytest claims", width)


def ranges(records: Sequence[Record]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """What the instrument can tell: source, measure, and its range over the blocks of each claim, "" for all of them."""
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for record in records:
        for name, blocks, value in _RANGE.findall(record.instrument):
            found.setdefault((record.source, name), set()).add((blocks, value))
    return [(source, name, sorted(values)) for (source, name), values in sorted(found.items())]


def _source_table(terminal: Any, source: str, records: Sequence[Record], width: int, whole: bool) -> None:
    by_number = sorted((record for record in records if record.state in show.NUMBERS), key=order)
    firsts = {record.id for record in by_number if record.rank != "second" and not whole}
    rows: list[Record] = []
    others: dict[str, list[Record]] = {}
    for record in by_number:
        base = record.id.partition("/")[0]
        if record.rank == "second" and base in firsts:
            others.setdefault(base, []).append(record)
        else:
            rows.append(record)
    if rows:
        terminal.write_line(f"{source}: every claim that a number decides"[:width], bold=True)
        wide = max(len(record.id) for record in rows)
        for title, group in groupby(rows, lambda record: heading(record.where)):
            terminal.write_line(title[:width], bold=True)
            for record in group:
                _row(terminal, record, others.get(record.id, []), wide, width, whole)
    for reason, ids in _without_number(records, whole).items():
        _wrapped(terminal, f"{reason[0]} ({len(ids)}): {reason[1]}: {_listed(ids, whole)}", width)
    main = main_findings(records)
    if len(main) > 1:
        _main_findings(terminal, source, main, records, width)
    elif main:
        _wrapped(terminal, f"{main[0].state} {main[0].id}: {main[0].reason}", width, bold=True)
    counts = {state: sum(record.state == state for record in records) for state in show.STATES}
    counted = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    _wrapped(terminal, f"{source}: {len(records)} claims: {counted}", width)


def _row(terminal: Any, record: Record, others: Sequence[Record], wide: int, width: int, whole: bool) -> None:
    """State, id, numbers, doubt or the verdicts of the second measures, and the title where there is room."""
    numbers = show.numbers(record)
    parts = [record.doubt] if record.doubt else []
    if others:
        agree = sum(one.state == record.state for one in others)
        parts.append(f"{agree}/{len(others)} other measures agree")
    line = f"{record.id.ljust(wide)}  {numbers}".rstrip()
    room = width - 3
    for part in parts:
        if len(line) + 2 + len(part) <= room:
            line += f"  {part}"
    if record.title and len(line) + 2 + min(len(record.title), ENOUGH) <= room:
        line = f"{line}  {textwrap.shorten(record.title, room - len(line) - 2, placeholder='...')}"
    _marked(terminal, record, line[:room])
    if whole:
        for text in (record.statement, record.reason):
            _wrapped(terminal, f"   {text}", width)


def _without_number(records: Sequence[Record], whole: bool) -> dict[tuple[str, str], list[str]]:
    """The ids of claims that no number decides, by state and reason; whole: each with its numbers, if it has any."""
    found: dict[tuple[str, str], list[str]] = {}
    for record in sorted(records, key=order):
        if record.state not in show.NUMBERS:
            reason = show.where_to_look(record)
            if whole or record.state == "INVALID":
                reason = "; ".join(line.strip() for line in record.reason.splitlines() if line.strip())
            told = f"{record.id} {show.numbers(record)}".rstrip() if whole else record.id
            found.setdefault((record.state, reason), []).append(told)
    return found


def _listed(ids: Sequence[str], whole: bool) -> str:
    few = 6
    more = f" and {len(ids) - few} more (-v lists them)" if len(ids) > few and not whole else ""
    return ", ".join(ids if whole else ids[:few]) + more


def main_findings(records: Sequence[Record]) -> list[Record]:
    """The paper's main findings in its order, those that a number decides first."""
    main = (record for record in records if record.rank == "main")
    return sorted(main, key=lambda record: (record.state not in show.NUMBERS, order(record)))


def tally(records: Sequence[Record]) -> str:
    """How many are SUPPORTED, REFUTED, INCONCLUSIVE, and in any other state, in words."""
    states = [record.state for record in records]
    held, failed, inconclusive = (states.count(state) for state in ("SUPPORTED", "REFUTED", "INCONCLUSIVE"))
    rest = len(states) - held - failed - inconclusive
    return f"{held} supported, {failed} refuted, {inconclusive} inconclusive, {rest} not decided"


def _main_findings(terminal: Any, source: str, main: Sequence[Record], records: Sequence[Record], width: int) -> None:
    """The paper's main findings, one line each, and how many of them are supported."""
    text = f"{source}: the paper's {len(main)} main findings: {tally(main)}"
    terminal.write_line("")
    _wrapped(terminal, text, width, bold=True)
    wide = max(len(record.title) for record in main)
    for record in main:
        why = show.numbers(record, width - 5 - wide) or show.without_number(record, records)
        _marked(terminal, record, f"{record.title.ljust(wide)}  {why}"[: width - 3])


def _marked(terminal: Any, record: Record, text: str) -> None:
    """The letter of a record's state, an asterisk where it is provisional, and a text."""
    terminal.write(f"{show.letter(record)}{'*' if record.provisional else ' '} ", **show.colour(record.state))
    terminal.write_line(text.rstrip())


def _wrapped(terminal: Any, text: str, width: int, **markup: bool) -> None:
    indent = " " * (len(text) - len(text.lstrip()))
    for line in textwrap.wrap(text, width, subsequent_indent=indent + "  ", break_on_hyphens=False):
        terminal.write_line(line, **markup)


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
