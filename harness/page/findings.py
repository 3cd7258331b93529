"""The paper's main findings at a profile: state, title, and a picture of the interval beside the margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from harness.artifacts.errors import MissingArtifact
from harness.page.accuracy import final_accuracies, pixel_accuracy
from harness.stages.place import Place
from harness.verdicts import show, table
from harness.verdicts.record import Record

# Of the picture in pixels, and the room that it leaves beside what it shows.
WIDTH, HEIGHT, ROOM = 180, 22, 8


@dataclass(frozen=True)
class Finding:
    """A row. words: why no number decides, or why the claim is inconclusive. svg: empty where nothing was measured."""

    record: Record
    numbers: str
    words: str
    svg: str


def findings(records: Sequence[Record], source: str) -> list[Finding]:
    """The main findings that were decided from the source, those that a number decides first."""
    main = table.main_findings([one for one in records if one.source == source])
    return [Finding(one, show.numbers(one), show.without_number(one, records), whisker(one)) for one in main]


def headline(rows: Sequence[Finding]) -> str:
    """How many of the main findings are supported."""
    return f"The paper's {len(rows)} main findings: {table.tally([row.record for row in rows])}."


def caveat(place: Place) -> str:
    """How many of the paper's methods classify better than raw pixels do: what the verdicts can be about. Empty if unknown."""
    methods = [name for name in place.settings.models if place.params.model(name).family in ("je", "rec")]
    try:
        level = pixel_accuracy(place)
        known = [final_accuracies(place, name) for name in methods]
    except MissingArtifact:
        return ""
    right = [accuracies["cls"] for accuracies in known if "cls" in accuracies]
    better = sum(accuracy > level for accuracy in right)
    said = f"20-NN on raw pixels is right on {level:.0f} % of the images; the final CLS token of {better} of the {len(right)}"
    return f"{said} vision transformers of the paper's methods is better."


def whisker(record: Record) -> str:
    """The estimate and its interval on a line, the margin as a stroke, the claimed side shaded; pale if it decides nothing."""
    if record.estimate is None or record.interval is None or record.margin is None or record.direction is None:
        return ""
    low, high = record.interval
    margins = (-record.margin, record.margin) if record.direction == "within" else (record.margin,)
    least, most = min(low, 0.0, *margins), max(high, 0.0, *margins)
    scale = (WIDTH - 2 * ROOM) / (most - least or 1.0)

    def x(value: float) -> float:
        return round(ROOM + (value - least) * scale, 1)

    sides = {"above": (x(margins[0]), WIDTH), "below": (0, x(margins[0])), "within": (x(margins[0]), x(margins[-1]))}
    left, right = sides[record.direction]
    middle = HEIGHT / 2
    parts = [
        f'<rect x="{left}" y="0" width="{round(right - left, 1)}" height="{HEIGHT}" fill="currentColor" opacity="0.12"/>',
        *(
            f'<line x1="{x(m)}" x2="{x(m)}" y1="0" y2="{HEIGHT}" stroke="currentColor" stroke-dasharray="3 2"/>'
            for m in margins
        ),
        f'<line x1="{x(low)}" x2="{x(high)}" y1="{middle}" y2="{middle}" stroke="currentColor" stroke-width="2"/>',
        f'<circle cx="{x(record.estimate)}" cy="{middle}" r="4" fill="currentColor"/>',
    ]
    label = escape(f"{record.title}: {show.numbers(record)}")
    pale = "" if record.state in show.NUMBERS else ' opacity="0.4"'
    head = f'<svg role="img" aria-label="{label}"{pale} width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
    return f"{head}{''.join(parts)}</svg>"
