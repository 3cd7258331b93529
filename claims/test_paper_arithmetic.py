"""The paper's errata that its printed numbers prove, each within what the printed digits leave open.

Plain tests and not claims: they hold or fail whatever is measured.
"""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import t as student

from harness.readings.published import Number, Published, load

HERE = Path(__file__).resolve().parent

# Every printed gain, and the two numbers that it should be the difference of.
GAINS = {
    **{f"table1.pair_gain.{m}": (f"table1.pair.{m}", f"table1.final.{m}") for m in ("dino", "moco_v3", "mae")},
    **{f"table1.all_gain.{m}": (f"table1.all.{m}", f"table1.final.{m}") for m in ("dino", "moco_v3", "mae")},
    "text.all_gain.mae": ("table1.all.mae", "table1.final.mae"),
}
# Printed without the accuracies that they come from, which Fig. 5 plots.
ALONE = {"text.depth_2_gain.first_je", "text.depth_2_gain.second_je", "text.depth_3_gain.mae"}
WRONG = {"table1.pair_gain.moco_v3"}

PAPER = load(HERE / "published.toml")
ERRATA: list[dict[str, Any]] = tomllib.loads((HERE / "errata.toml").read_text())["erratum"]


def off(paper: Published, gain: str) -> tuple[float, float]:
    """By how much a printed gain misses its operands' difference, and by how much rounding alone could make it."""
    numbers = [paper.number(key) for key in (gain, *GAINS[gain])]
    printed, minuend, subtrahend = numbers
    return abs(printed.value - (minuend.value - subtrahend.value)), sum(number.half_cell for number in numbers)


def at_least(number: Number) -> float:
    return number.value - number.half_cell


def at_most(number: Number) -> float:
    return number.value + number.half_cell


def test_erratum_1_pair_gain_of_moco() -> None:
    missed, rounding = off(PAPER, "table1.pair_gain.moco_v3")
    assert missed == pytest.approx(0.04)
    assert missed > rounding


@pytest.mark.parametrize(("model", "expected"), [("dino", 4.9), ("moco_v3", 8.6)])
def test_erratum_2_no_marginal_utility(model: str, expected: float) -> None:
    final, pair = PAPER.number(f"table1.final.{model}"), PAPER.number(f"table1.pair.{model}")
    assert final.spread is not None
    assert pair.spread is not None
    assert final.runs == pair.runs == 5
    assert (pair.value - final.value) / math.sqrt((final.spread**2 + pair.spread**2) / 5) == pytest.approx(expected, abs=0.05)
    # The least t that the printed digits allow still passes the 99 % point of the fewest degrees of freedom.
    widest = math.sqrt(((final.spread + 0.005) ** 2 + (pair.spread + 0.005) ** 2) / 5)
    assert (at_least(pair) - at_most(final)) / widest > student.ppf(0.99, 4)


def test_erratum_3_nearly_all_is_linear() -> None:
    deeper = [PAPER.number(f"text.depth_2_gain.{je}") for je in ("first_je", "second_je")]
    intermediate = [PAPER.number(f"table1.pair_gain.{je}") for je in ("dino", "moco_v3")]
    assert min(map(at_least, deeper)) > max(map(at_most, intermediate))


def test_erratum_4_mask_ap_of_fine_tuned_dino() -> None:
    suspect = PAPER.number("table_a7.mask_ap.dino")
    assert suspect.quarantined is not None
    assert suspect.value == PAPER.number("table_a6.mask_ap.dino").value

    def ratio(key: str) -> float:
        return PAPER.number(key).value / PAPER.number(key.replace("mask_ap", "box_ap")).value

    others = [key for key in PAPER.numbers if re.search(r"\.mask_ap\.", key) and key != suspect.key]
    assert len(others) == 9
    assert ratio(suspect.key) < 0.63
    assert min(map(ratio, others)) > 0.88
    neighbours = [ratio("table_a7.mask_ap.mae"), ratio("table_a7.mask_ap.moco_v3")]
    assert sum(neighbours) / 2 * PAPER.number("table_a7.box_ap.dino").value == pytest.approx(42.3, abs=0.05)


def test_erratum_5_spatial_tasks_favour_reconstruction() -> None:
    for metric in ("box_ap", "mask_ap", "box_ap_large", "mask_ap_large", "box_ap_small"):
        dino, mae = PAPER.number(f"table_a6.{metric}.dino"), PAPER.number(f"table_a6.{metric}.mae")
        assert at_least(dino) > at_most(mae), metric
    assert PAPER.number("table_a6.mask_ap_small.dino").value == PAPER.number("table_a6.mask_ap_small.mae").value


@pytest.mark.parametrize(
    ("metric", "je", "gap"),
    [("box_ap_large", "moco_v3", -0.28), ("mask_ap_large", "moco_v3", -0.19), ("box_ap", "dino_no_multicrop", 0.28)],
)
def test_erratum_6_tiny_gaps_without_repeats(metric: str, je: str, gap: float) -> None:
    pair = [PAPER.number(f"table2.{metric}.{model}") for model in ("mae", je)]
    assert pair[0].value - pair[1].value == pytest.approx(gap)
    assert [(number.spread, number.runs) for number in pair] == [(None, None)] * 2


def test_erratum_7_agreement_and_its_ceiling() -> None:
    final = {model: PAPER.number(f"table1.final.{model}") for model in ("dino", "moco_v3", "mae")}
    near, far = PAPER.number("appendix_d.f1.dino_moco_v3"), PAPER.number("appendix_d.f1.mae_moco_v3")
    ceilings = [
        1 - (final["dino"].value - final["moco_v3"].value) / 100,
        1 - (final["moco_v3"].value - final["mae"].value) / 100,
    ]
    assert ceilings == pytest.approx([0.9855, 0.914])
    assert [near.value / ceilings[0], far.value / ceilings[1]] == pytest.approx([0.944, 0.963], abs=0.0005)
    # Rounding can move each ceiling by a hundredth of a point.
    assert at_least(near) > at_most(far)
    assert at_most(near) / (ceilings[0] - 1e-4) < at_least(far) / (ceilings[1] + 1e-4)


@pytest.mark.parametrize("gain", sorted(GAINS.keys() - WRONG))
def test_every_other_printed_gain_is_the_difference_of_its_numbers(gain: str) -> None:
    missed, rounding = off(PAPER, gain)
    assert missed <= rounding + 1e-9


def test_no_printed_gain_is_left_unchecked() -> None:
    assert {key for key, number in PAPER.numbers.items() if number.unit == "top-1 points"} == GAINS.keys() | ALONE


def test_table_2_repeats_in_table_a6() -> None:
    repeated = [key for key in PAPER.numbers if key.startswith("table2.")]
    assert len(repeated) == 18
    for key in repeated:
        assert PAPER.number(key).value == PAPER.number(key.replace("table2.", "table_a6.")).value, key


def test_every_arithmetic_erratum_has_its_proof_and_no_other_has_one() -> None:
    arithmetic = {f"test_erratum_{erratum['id'].replace('-', '_')}" for erratum in ERRATA if erratum["kind"] == "arithmetic"}
    assert arithmetic == {name for name in globals() if name.startswith("test_erratum_")}
    assert all(erratum["keys"] for erratum in ERRATA if erratum["kind"] == "arithmetic")


def test_errata_are_numbered_and_whole_and_cite_what_exists() -> None:
    assert [int(erratum["id"].split("-")[0]) for erratum in ERRATA] == list(range(1, 18))
    for erratum in ERRATA:
        assert erratum.keys() == {"id", "where", "printed", "follows", "kind", "keys"}
        assert re.fullmatch(r"[0-9]+(-[a-z0-9]+)+", erratum["id"])
        assert erratum["kind"] in ("arithmetic", "protocol", "wording")
        assert all(erratum[field].strip() for field in ("where", "printed", "follows"))
        for key in erratum["keys"]:
            assert PAPER.number(key).key == key
