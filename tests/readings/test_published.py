"""Printed numbers: read strictly, as uncertain as their spread or their digits, never paired."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.evidence.estimate import Estimate
from harness.readings.published import Number, Published, load

PAPER = Path(__file__).parents[2] / "claims" / "published.toml"

TEXT = """
[table.linear]
a = { value = "76.61", spread = "0.02", runs = 5, unit = "%", where = "Table 1" }
b = { value = "76.33", spread = "0.07", runs = 7, unit = "%", where = "Table 1" }
[table.gain]
a = { value = "+1.8", unit = "points", where = "Table 1" }
b = { value = "-0.54", unit = "points", where = "Table 1" }
bad = { value = "30.04", unit = "AP", where = "Table 2", quarantined = "a misprint" }
[count]
value = "12"
unit = "models"
where = "Table 3"
"""
GOOD = 'value = "1.0"\nunit = "%"\nwhere = "Table 1"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "published.toml"
    path.write_text(text)
    return path


@pytest.fixture
def paper(tmp_path: Path) -> Published:
    return load(written(tmp_path, TEXT))


def test_numbers_keep_what_is_printed(paper: Published, tmp_path: Path) -> None:
    assert set(paper.numbers) == {"table.linear.a", "table.linear.b", "table.gain.a", "table.gain.b", "table.gain.bad", "count"}
    assert paper.number("table.linear.a") == Number("table.linear.a", 76.61, 2, 0.02, 5, "%", "Table 1")
    assert paper.number("table.gain.a") == Number("table.gain.a", 1.8, 1, None, None, "points", "Table 1")
    assert paper.number("table.gain.b").value == -0.54
    assert paper.number("table.gain.bad").quarantined == "a misprint"
    assert (paper.number("count").decimals, paper.number("count").half_cell) == (0, 0.5)
    assert paper.number("table.gain.a").half_cell == pytest.approx(0.05)
    assert paper.sha256 == hashlib.sha256((tmp_path / "published.toml").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\n" + GOOD + 'spred = "0.1"\n', "spread"),
        ("[a]\n" + GOOD + "[a]\n" + GOOD, "each key once"),
        ("[a]\n" + GOOD + 'value = "2.0"\n', "each key once"),
        ("[a]\n" + GOOD.replace('"1.0"', "1.0"), "a.value"),
        ("[a]\n" + GOOD.replace("1.0", "nan"), "a.value"),
        ("[a]\n" + GOOD.replace("1.0", "1,0"), "a.value"),
        ("[a]\n" + GOOD.replace("1.0", "1e3"), "a.value"),
        ("[a]\n" + GOOD.replace("1.0", "1."), "a.value"),
        ("[a]\n" + GOOD.replace("1.0", "1.0\\n"), "a.value"),
        ("[a]\n" + GOOD.replace("1.0", "\u0661"), "a.value"),
        ("[a]\n" + GOOD.replace('where = "Table 1"', ""), "a.where"),
        ("[a]\n" + GOOD.replace("%", " "), "a.unit"),
        ("[a]\n" + GOOD + 'quarantined = ""\n', "a.quarantined"),
        ("[a]\n" + GOOD + "quarantined = true\n", "a.quarantined"),
        ("[a]\n" + GOOD + 'spread = "0.1"\n', "both spread and runs"),
        ("[a]\n" + GOOD + "runs = 5\n", "both spread and runs"),
        ("[a]\n" + GOOD + 'spread = "0.00"\nruns = 5\n', "positive"),
        ("[a]\n" + GOOD + 'spread = "-0.1"\nruns = 5\n', "positive"),
        ("[a]\n" + GOOD + 'spread = "few"\nruns = 5\n', "a.spread"),
        ("[a]\n" + GOOD + 'spread = "0.1"\nruns = "5"\n', "a.runs"),
        ("[a]\n" + GOOD + 'spread = "0.1"\nruns = 1\n', "a.runs"),
        ("[a]\n" + GOOD + "[a.b]\n" + GOOD, "a.b"),
        ("[a.B]\n" + GOOD, "lower-case"),
        ('["a.b"]\n' + GOOD, "lower-case"),
        ("a = 1\n", "a table"),
        ("[a]\n", "a table"),
        ("", "no numbers"),
        ("[a\n", "valid TOML"),
    ],
)
def test_anything_but_printed_numbers_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidInput, match=message) as error:
        load(path)
    assert error.value.where == str(path)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="no published numbers"):
        load(tmp_path / "none.toml")
    (tmp_path / "published.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="valid TOML"):
        load(tmp_path / "published.toml")


def test_an_unknown_key_is_answered_with_the_nearest(paper: Published) -> None:
    for ask in (paper.number, paper.estimate, lambda key: paper.difference("count", key)):
        with pytest.raises(InvalidInput, match=r"table\.linear\.a"):
            ask("table.liner.a")


@pytest.mark.parametrize("runs", [5, 6, 10, 50])
@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_a_spread_gives_the_t_interval(paper: Published, runs: int, level: float) -> None:
    number = replace(paper.number("table.linear.b"), runs=runs)
    estimate = Published({number.key: number}, "0").estimate(number.key)
    expected = student.interval(level, runs - 1, loc=76.33, scale=0.07 / np.sqrt(runs))
    assert (estimate.value, estimate.n, estimate.unit, len(estimate.draws)) == (76.33, runs, "runs", 2000)
    width = expected[1] - expected[0]
    assert estimate.interval(level) == pytest.approx(expected, abs=0.003 * width)


def test_fewer_than_five_runs_have_no_interval(paper: Published) -> None:
    number = replace(paper.number("table.linear.a"), runs=4)
    with pytest.raises(InvalidInput, match="at least 5 runs"):
        Published({number.key: number}, "0").estimate(number.key)


def test_a_difference_adds_variances_and_takes_the_fewest_runs(paper: Published) -> None:
    difference = paper.difference("table.linear.a", "table.linear.b")
    error = np.sqrt(0.02**2 / 5 + 0.07**2 / 7)
    expected = student.interval(0.95, 4, loc=0.28, scale=error)
    assert (difference.value, difference.n, difference.unit) == (0.28, 5, "runs")
    assert difference.interval() == pytest.approx(expected, abs=0.003 * (expected[1] - expected[0]))
    # The one-sided p-value is that of t, down to what 2000 draws can show.
    margin = 0.28 - 2 * error
    assert difference.p_above(margin) == pytest.approx(student.sf(2, 4), abs=0.002)


def test_without_a_spread_the_number_lies_in_its_rounding_cell(paper: Published) -> None:
    estimate = paper.estimate("table.gain.b")
    assert (estimate.value, estimate.n, estimate.unit) == (-0.54, 1, "printed numbers")
    assert -0.545 < estimate.draws.min() < -0.5449
    assert -0.5351 < estimate.draws.max() < -0.535
    assert estimate.interval() == pytest.approx((-0.54475, -0.53525), abs=1e-5)
    np.testing.assert_allclose(np.sort(estimate.draws)[1:-1], np.linspace(-0.545, -0.535, 2000)[1:-1])


def test_a_difference_of_cells_is_triangular_and_one_estimate(paper: Published) -> None:
    estimate = paper.difference("count", "table.gain.a")
    assert (estimate.value, estimate.n, estimate.unit, estimate.jackknife) == (10.2, 1, "printed numbers", None)
    # Cells of half widths 0.5 and 0.05.
    assert 0.5 < np.abs(estimate.draws - 10.2).max() <= 0.55
    assert estimate.draws.std() == pytest.approx(np.sqrt(0.5**2 + 0.05**2) / np.sqrt(3), rel=0.01)


def test_a_spread_and_a_cell_add_up_over_runs(paper: Published) -> None:
    mixed = paper.difference("table.linear.a", "table.gain.a")
    assert (mixed.value, mixed.n, mixed.unit) == (74.81, 5, "runs")
    assert mixed.draws.var() == pytest.approx(0.02**2 / 5 * (4 / 5) + 0.05**2 / 3, rel=0.05)


def test_factors_scale_value_and_spread(paper: Published) -> None:
    plain = paper.estimate("table.linear.b")
    scaled = paper.combination({"table.linear.b": -2.0})
    assert scaled.value == -152.66
    assert scaled.draws.std() == pytest.approx(2 * plain.draws.std())
    three = paper.combination({"table.linear.a": 1, "table.linear.b": -1, "table.gain.a": -1})
    assert (three.value, three.n) == (-1.52, 5)


def test_two_numbers_are_independent_and_never_paired(paper: Published) -> None:
    def squared_error(estimate: Estimate) -> float:
        # Draws over n runs carry (n - 1) / n of it, which the interval gives back.
        return float(estimate.draws.var()) * (estimate.n / (estimate.n - 1) if estimate.n > 1 else 1)

    for a, b in (("table.gain.a", "table.gain.b"), ("table.linear.a", "table.linear.b")):
        one, other = paper.estimate(a), paper.estimate(b)
        # Five standard errors of the correlation of two unrelated orders.
        assert abs(np.corrcoef(one.draws, other.draws)[0, 1]) < 5 / np.sqrt(2000)
        with pytest.raises(InvalidInput, match="unpaired"):
            _ = one - other
        difference = paper.difference(a, b)
        assert squared_error(difference) == pytest.approx(squared_error(one) + squared_error(other), rel=0.05)
        with pytest.raises(InvalidInput, match="unpaired"):
            _ = difference + other
        with pytest.raises(InvalidInput, match="unpaired"):
            _ = difference - paper.difference(b, a)


def test_a_number_minus_itself_is_no_difference(paper: Published) -> None:
    with pytest.raises(InvalidInput, match="two numbers"):
        paper.difference("count", "count")


def test_factors_are_finite_and_not_nothing(paper: Published) -> None:
    for factors in ({}, {"count": 0.0}, {"count": float("nan")}, {"count": float("inf")}):
        with pytest.raises(InvalidInput, match="factors"):
            paper.combination(factors)


def test_a_quarantined_number_can_be_read_but_not_used(paper: Published) -> None:
    assert paper.number("table.gain.bad").value == 30.04
    for ask in (paper.estimate, lambda key: paper.difference("count", key), lambda key: paper.difference(key, "count")):
        with pytest.raises(InvalidInput, match="a misprint"):
            ask("table.gain.bad")


def test_draws_are_the_same_everywhere(paper: Published, tmp_path: Path) -> None:
    path = tmp_path / "published.toml"
    code = (
        "import sys, hashlib, pathlib; from harness.readings.published import load;"
        "d = load(pathlib.Path(sys.argv[1])).combination({'table.gain.a': -1.0, 'table.linear.a': 1.0});"
        "print(d.key, hashlib.sha256(d.draws.tobytes()).hexdigest(), 'torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True, cwd=PAPER.parents[1])
    here = paper.difference("table.linear.a", "table.gain.a")
    assert told.stdout.rsplit(maxsplit=2) == [here.key, hashlib.sha256(here.draws.tobytes()).hexdigest(), "False"]


def test_the_paper_s_own_numbers() -> None:
    paper = load(PAPER)
    tables = [key.split(".")[0] for key in paper.numbers]
    assert {t: tables.count(t) for t in tables} == {
        "table1": 15,
        "text": 4,
        "table2": 18,
        "table_a6": 24,
        "table_a7": 18,
        "appendix_d": 2,
    }
    assert [key for key, number in paper.numbers.items() if number.quarantined] == ["table_a7.mask_ap.dino"]
    assert all(number.decimals == 2 or number.value in (1.8, 2.4) for number in paper.numbers.values())
    assert {key for key, number in paper.numbers.items() if number.runs} == {
        f"table1.{features}.{model}" for features in ("final", "pair", "all") for model in ("dino", "moco_v3", "mae")
    }
