"""Verdict files: JSON comes back as it was, and a table has every number and text of it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from harness.artifacts.errors import InvalidInput
from harness.verdicts import record
from harness.verdicts.record import Record

RECORDS = [
    Record("b", "embedded", "MISSING", 'what is "said", in two\nlines', "1", "as read", "none", instrument="a range"),
    Record("a", "embedded", "SUPPORTED", "it holds", "Fig. 1", "a - b", "well", 0.3, (0.25, 0.5), 0.05, 4096, "images"),
    Record("z", "another", "REFUTED", "not", "Fig. 1", "a - b", "ill", -1e-9, (-1.0, 0.0), 0.0, 8, "subsets", True),
]


def test_json_comes_back_sorted_as_it_was(tmp_path: Path) -> None:
    record.write(tmp_path / "v.json", RECORDS)
    assert record.read(tmp_path / "v.json") == sorted(RECORDS, key=lambda r: (r.source, r.id))


def test_a_rounding_error_changes_no_file(tmp_path: Path) -> None:
    """Such as another number of threads makes."""
    one = replace(RECORDS[1], estimate=0.1 + 0.2, interval=(-0.048519321148085284, 1 / 3), margin=0.1 + 0.7)
    other = replace(RECORDS[1], estimate=0.3, interval=(-0.04851932114808524, 0.33333333333333326), margin=0.8)
    written = []
    for name in ("v.json", "v.csv"):
        for given in (one, other):
            record.write(tmp_path / name, [given])
            written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    assert written[2] == written[3]


def test_a_table_has_the_same_numbers_and_texts(tmp_path: Path) -> None:
    record.write(tmp_path / "v.csv", RECORDS)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "v.csv").read_text())))
    assert [row["id"] for row in rows] == ["z", "a", "b"]
    numbers = ("estimate", "low", "high", "margin")
    for row, one in zip(rows, sorted(RECORDS, key=lambda r: (r.source, r.id)), strict=True):
        assert (row["state"], row["statement"], row["reason"]) == (one.state, one.statement, one.reason)
        expected = (one.estimate, *(one.interval or (None, None)), one.margin)
        assert [row[name] and float(row[name]) for name in numbers] == ["" if x is None else x for x in expected]
        assert row["n"] == ("" if one.n is None else str(one.n))


def test_a_table_is_not_taken_for_a_verdict_file(tmp_path: Path) -> None:
    record.write(tmp_path / "v.csv", RECORDS)
    with pytest.raises(InvalidInput, match="a list of verdict records"):
        record.read(tmp_path / "v.csv")
