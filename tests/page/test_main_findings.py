"""The main findings on the page: which they are, their sentence, and a picture in which the claimed side can be told."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from harness.page.findings import HEIGHT, WIDTH, findings, headline, whisker
from harness.verdicts import show
from harness.verdicts.record import Record

RECORD = Record(
    "one",
    "embedded",
    "REFUTED",
    "A statement.",
    "3.1, Fig. 1",
    "a rule",
    "a reason",
    estimate=-0.1,
    interval=(-0.15, -0.05),
    margin=0.1,
    title="A finding",
    rank="main",
    quantity="CKA",
    direction="above",
)


def marks(record: Record) -> dict[str, list[float]]:
    """Where the shaded side, the margins, the interval and the dot lie."""
    svg = whisker(record)
    x, width = map(float, re.findall(r'<rect x="([\d.]+)" y="0" width="([\d.]+)"', svg)[0])
    margins = [float(found) for found in re.findall(r'<line x1="([\d.]+)" x2="\1"', svg)]
    interval = [list(map(float, found)) for found in re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)" y1="11.0" y2="11.0"', svg)]
    return {
        "side": [x, x + width],
        "margins": margins,
        "interval": interval[0],
        "dot": [float(re.findall(r'cx="([\d.]+)"', svg)[0])],
    }


def test_a_refuted_claim_lies_beside_its_side_and_a_supported_one_within() -> None:
    refuted = marks(RECORD)
    assert refuted["interval"][1] < refuted["margins"][0] == refuted["side"][0]
    assert refuted["side"][1] == WIDTH
    assert refuted["interval"][0] < refuted["dot"][0] < refuted["interval"][1]
    held = marks(replace(RECORD, estimate=0.3, interval=(0.2, 0.4)))
    assert held["side"][0] < held["interval"][0]
    below = marks(replace(RECORD, direction="below"))
    assert below["side"] == [0, below["margins"][0]]
    assert below["interval"][1] < below["margins"][0]
    within = marks(replace(RECORD, direction="within"))
    assert within["side"] == pytest.approx(within["margins"], abs=0.11)
    assert within["interval"][0] < within["margins"][0] < within["interval"][1]


@pytest.mark.parametrize("gone", ["estimate", "interval", "margin", "direction"])
def test_without_a_number_there_is_no_picture(gone: str) -> None:
    changes: dict[str, Any] = {gone: None}
    assert whisker(replace(RECORD, **changes)) == ""


def test_what_decides_nothing_is_pale_and_in_parentheses() -> None:
    weak = replace(RECORD, state="UNCALIBRATED")
    assert marks(weak) == marks(RECORD)
    assert (' opacity="0.4"' in whisker(weak), ' opacity="0.4"' in whisker(RECORD)) == (True, False)
    assert show.numbers(weak) == f"({show.numbers(RECORD)})"
    assert show.without_number(weak, [weak]) == "too weak"


def test_everything_fits_into_the_picture() -> None:
    for interval in ((-3e-4, 2e-4), (-400.0, -100.0), (0.05, 70.0)):
        found = marks(replace(RECORD, estimate=sum(interval) / 2, interval=interval))
        assert all(0 <= value <= WIDTH for values in found.values() for value in values)
    assert f'height="{HEIGHT}"' in whisker(RECORD)
    assert "&lt;b&gt;" in whisker(replace(RECORD, title="<b>"))


def test_the_sentence_counts_the_findings_of_the_source_alone() -> None:
    records = [
        RECORD,
        replace(RECORD, id="two", state="SUPPORTED", where="1"),
        replace(RECORD, id="three", state="MISSING", estimate=None, interval=None, where="2"),
        replace(RECORD, id="four", source="published"),
        replace(RECORD, id="five", rank="detail"),
    ]
    rows = findings(records, "embedded")
    assert [row.record.id for row in rows] == ["two", "one", "three"]
    assert headline(rows) == "The paper's 3 main findings: 1 supported, 1 refuted, 0 inconclusive, 1 not decided."
    assert (rows[2].numbers, rows[2].words, rows[2].svg) == ("", "not measured", "")
