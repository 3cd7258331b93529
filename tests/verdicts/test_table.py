"""The verdict table: no wider than the terminal, in the paper's order, and with nothing lost that a narrow one leaves out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.verdicts import show, table
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


def test_the_order_is_the_papers_and_second_measures_fold_under_their_claim() -> None:
    second = decided("low/cls", "3.1, Fig. 1b, c", rank="second")
    other = decided("low/gap", "3.1, Fig. 1b, c", "SUPPORTED", rank="second")
    found = lines([*RECORDS, second, other], 120)
    begin, end = (
        next(i for i, line in enumerate(found) if line.startswith(start)) for start in ("embedded: every", "UNCALIBRATED")
    )
    rows = [line if line[1:3] not in ("  ", "* ") else line.split()[1] for line in found[begin + 1 : end]]
    assert rows == [
        *("Abstract", "opposite", "section 1", "early", "Fig. 1 (3.1)", "late", "low", "Fig. 5 (3.2)", "deep"),
        *("Table 1 (3.2)", "linear", "Fig. 12 (10.1)", "flip", "Fig. A1 (A.1)", "stable", "section D", "f1", "Fig. A4 (D)"),
        "tau-all-5",
    ]
    assert "1/2 other measures agree" in next(line for line in found if line.startswith("R  low "))
    assert {"low/cls", "low/gap"} <= {
        line.split()[1] for line in lines([*RECORDS, second, other], 120, whole=True) if line[1:3] == "  "
    }


def test_a_second_measure_without_its_claim_has_a_row() -> None:
    second = decided("late/cls", "3.1, Fig. 1a", rank="second")
    assert any(line.split()[:2] == ["R", "late/cls"] for line in lines([second], 80))


def test_a_row_has_numbers_direction_and_quantity_and_a_title_where_there_is_room() -> None:
    row = decided("early", "1", title="JE and REC differ from early blocks on", quantity="CKA", direction="above")
    wide, narrow = (next(line for line in lines([row], width) if line.startswith("R  ")) for width in (120, 50))
    assert wide == "R  early  -0.12 [-0.25, 0.01] > 0.05 CKA  JE and REC differ from early blocks on"
    assert narrow == "R  early  -0.12 [-0.25, 0.01] > 0.05 CKA"
    doubted = replace(row, state="INCONCLUSIVE", doubt="runs disagree")
    assert "  runs disagree" in next(line for line in lines([doubted], 80) if line.startswith("I  "))
    recorded = replace(row, reason="a reason; known since 2026-11-25: a number")
    assert any(line.startswith("V  early") for line in lines([recorded], 80))


def test_main_findings_and_counts_come_last() -> None:
    main = [
        decided("one", "1", title="One", rank="main", direction="above"),
        decided("two", "2", "MISSING", title="Two", rank="main"),
        decided(
            "three",
            "3",
            "UNCALIBRATED",
            title="Three",
            rank="main",
            direction="above",
            estimate=0.3,
            interval=(0.2, 0.4),
            margin=0.1,
        ),
    ]
    found = lines([*RECORDS, *main], 80)
    begin = next(i for i, line in enumerate(found) if "main findings" in line)
    text = " ".join(line.strip() for line in found[begin:])
    assert text.startswith("embedded: the paper's 3 main findings: 0 supported, 1 refuted, 0 inconclusive, 2 not decided")
    assert (
        "R  One    -0.12 [-0.25, 0.01] > 0.05 M  Two    not measured U  Three  (0.30 [0.20, 0.40] > 0.1) embedded: 16 claims:"
        in text
    )


def test_of_a_model_the_family_comes_last_with_its_reason() -> None:
    family = decided("mine/family", "Kinship", "JE-LIKE", rank="main", reason="JE-LIKE by 5 of 6")
    found = lines([decided("mine/cka", "Kinship", "JE-LIKE"), family], 80)
    assert "JE-LIKE mine/family: JE-LIKE by 5 of 6" in found


def test_in_whole_every_statement_and_reason_stands_there() -> None:
    text = " ".join(line.strip() for line in lines(RECORDS, 80, whole=True))
    assert all(record.statement in text for record in RECORDS if record.state not in ("MISSING", "UNCALIBRATED"))
    assert BLIND in text
    assert "MISSING (2): artifacts/x: missing; no COCO; next: measure: det-1, det-2" in text


def test_what_no_number_decides_is_one_line_a_state() -> None:
    found = lines(RECORDS, 100)
    assert "MISSING (2): not measured: det-1, det-2" in found
    assert "UNCALIBRATED (1): too weak: late/cls" in found
    numbers = {"estimate": 0.3, "interval": (0.2, 0.4), "margin": 0.1, "direction": "above", "quantity": "CKA"}
    weak = decided("early/cls", "1", "UNCALIBRATED", reason="too weak", **numbers)
    assert "UNCALIBRATED (1): too weak: early/cls" in lines([weak], 100)
    assert "UNCALIBRATED (1): too weak: early/cls (0.30 [0.20, 0.40] > 0.1 CKA)" in lines([weak], 100, whole=True)
    many = [decided(f"det-{i}", "3.2", "MISSING") for i in range(9)]
    assert "MISSING (9): not measured: det-0, det-1, det-2, det-3, det-4, det-5 and 3 more (-v lists them)" in lines(many, 100)


def test_a_measures_ranges_are_one_line_in_whole() -> None:
    found = [line for line in lines(RECORDS, 200, whole=True) if line.startswith("instrument")]
    assert found == [
        "instrument (embedded): cka range 0.528 [0.520, 0.536], blocks 0-3 0.335 [0.328, 0.344]",
        "instrument (embedded): cls range blocks 0-3 0.050 [0.040, 0.060]",
    ]


def test_a_main_finding_without_a_number_says_what_its_second_measures_say() -> None:
    missing = decided("one", "3.2, Fig. 7", "MISSING", rank="main")
    second = decided("one/features", "3.2, Fig. 7", "SUPPORTED", rank="second")
    assert show.indirectly(missing, [missing, second]) == "indirectly SUPPORTED"
    # They must agree, be of the same source and rest on a number; and what a number decides needs no other.
    assert show.indirectly(missing, [missing, second, replace(second, id="one/other", state="REFUTED")]) == ""
    assert show.indirectly(missing, [missing, replace(second, source="published")]) == ""
    assert show.indirectly(missing, [missing, replace(second, state="UNCALIBRATED")]) == ""
    assert show.indirectly(missing, [missing, replace(second, id="oneself")]) == ""
    assert show.indirectly(replace(missing, state="REFUTED"), [second]) == ""
