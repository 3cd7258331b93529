"""The verdict table: no wider than the terminal, in the paper's order, and with nothing lost that a narrow one leaves out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.verdicts import table
from harness.verdicts.record import Record


class Terminal:
    """What pytest's terminal reporter is written to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.begun = ""

    def section(self, title: str) -> None:
        self.lines.append(title)

    def write(self, text: str, **markup: Any) -> None:
        self.begun += text

    def write_line(self, text: str, **markup: Any) -> None:
        self.lines.append(self.begun + text)
        self.begun = ""


def decided(id: str, where: str, state: str = "REFUTED", **more: Any) -> Record:
    statement = f"What the paper says of {id}, in as many words as it takes to say it in full."
    record = Record(id, "embedded", state, statement, where, "above the margin", "a reason")
    numbers: dict[str, Any] = {"estimate": -0.123, "interval": (-0.25, 0.0123), "margin": 0.05, "n": 32, "unit": "minibatches"}
    return replace(record, **((numbers if state in ("SUPPORTED", "REFUTED", "INCONCLUSIVE") else {}) | more))


RANGE = "cka range 0.528 [0.520, 0.536], needed 0.1; cka range over blocks 0-3 0.335 [0.328, 0.344], needed 0.1"
BLIND = "20-NN at the best block, over untrained: one +28.8; cls range over blocks 0-3 0.050 [0.040, 0.060], needed 0.1"
GONE = "artifacts/x: missing\n  no COCO\n  next: measure"
RECORDS = [
    decided("tau-all-5", "D, Fig. A4"),
    decided("f1", "D"),
    decided("stable", "A.1, Fig. A1", "SUPPORTED"),
    decided("linear", "3.2, Table 1, Fig. 6"),
    decided("deep", "3.2, Fig. 5", "INCONCLUSIVE", provisional=True),
    decided("late/cls", "3.1, Fig. 1a", "UNCALIBRATED", reason=BLIND, instrument=BLIND),
    decided("late", "3.1, Fig. 1a", instrument=RANGE),
    decided("low", "3.1, Fig. 1b, c"),
    decided("early", "1", instrument=RANGE.replace("0.1", "0.2")),
    decided("opposite", "Abstract; 3.2"),
    decided("flip", "10.1, Fig. 12"),
    *(
        decided(f"det-{i}", "3.2, Table 2", "MISSING", reason="artifacts/x: missing\n  no COCO\n  next: measure")
        for i in (1, 2)
    ),
]


def lines(records: list[Record], width: int, *, whole: bool = False) -> list[str]:
    terminal = Terminal()
    table.write(terminal, records, width, whole=whole)
    assert not terminal.begun
    return terminal.lines


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int, whole: bool) -> None:
    found = lines([*RECORDS, replace(RECORDS[0], source="published")], width, whole=whole)
    assert max(map(len, found)) <= width
    assert all(line == line.rstrip() for line in found)


def test_the_order_is_the_papers_and_second_measures_stand_under_their_claim() -> None:
    found = lines(RECORDS, 80)
    table = found[found.index(next(line for line in found if line.startswith("verdict "))) + 1 :]
    rows = [line if line[0] not in "RSIU" or "  " not in line else line.split()[1] for line in table[:19]]
    assert rows == [
        *("Abstract", "opposite", "section 1", "early", "Fig. 1 (3.1)", "late", "/cls", "low", "Fig. 5 (3.2)", "deep"),
        *("Table 1 (3.2)", "linear", "Fig. 12 (10.1)", "flip", "Fig. A1 (A.1)", "stable", "section D", "f1", "Fig. A4 (D)"),
    ]


def test_a_second_measure_without_its_claim_keeps_its_name() -> None:
    assert any(line.split()[:2] == ["UNCALIBRATED", "late/cls"] for line in lines([RECORDS[5]], 80))


def test_a_narrow_table_leaves_out_n_and_statements_and_a_wide_one_shows_both() -> None:
    heads = {width: next(line for line in lines(RECORDS, width) if line.startswith("verdict ")) for width in (70, 100, 160)}
    assert [("statement" in head, "  n  " in head) for head in heads.values()] == [(False, False), (True, False), (True, True)]
    assert not any("source" in head for head in heads.values())
    two = lines([*RECORDS, replace(RECORDS[0], source="published")], 160)
    assert "source" in next(line for line in two if line.startswith("verdict "))
    wide = [line for line in lines(RECORDS, 160) if "REFUTED" in line and " early " in line]
    assert "What the paper says of early, in as many words" in wide[0]
    assert "32 minibatches" in wide[0]


def test_in_whole_every_statement_and_reason_stands_there() -> None:
    text = " ".join(line.strip() for line in lines(RECORDS, 80, whole=True))
    assert all(record.statement in text for record in RECORDS if record.state != "MISSING" and "/" not in record.id)
    assert BLIND in text


def test_what_is_missing_is_told_once_and_what_blinds_by_its_last_sentence() -> None:
    found = lines(RECORDS, 100)
    assert "MISSING det-1, det-2 (embedded): artifacts/x: missing; no COCO; next: measure" in found
    assert "UNCALIBRATED late/cls (embedded): cls range over blocks 0-3 0.050 [0.040, 0.060], needed 0.1" in found
    assert not any(line.split()[1:2] == ["det-1"] for line in found)


def test_a_measures_ranges_are_one_line() -> None:
    found = [line for line in lines(RECORDS, 200) if line.startswith("instrument")]
    assert found == [
        "instrument (embedded): cka range 0.528 [0.520, 0.536], blocks 0-3 0.335 [0.328, 0.344]",
        "instrument (embedded): cls range blocks 0-3 0.050 [0.040, 0.060]",
    ]
