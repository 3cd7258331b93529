"""The claims on the paper's printed numbers: each verdict by hand, and none SUPPORTED when the models' numbers are swapped.

t intervals by hand: error = sqrt(spread_a^2 + spread_b^2) / sqrt(5), times t(4): 2.776 (95 %), 2.132 (90 %).
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.evidence.decide import Decision, State, all_of
from harness.readings.agreement import PrintedAnswers
from harness.readings.detection import PrintedDetection
from harness.readings.probes import PrintedProbes
from harness.readings.published import Number, Published, load
from harness.verdicts import reversals

PROJECT = Path(__file__).parents[2]
CLAIMS = PROJECT / "claims"
MODULES = ("test_table1_probes", "test_table2_detection", "test_table_a7_end_to_end_detection", "test_appendix_d_agreement")
# How claims that profiles decide too are shown the paper's numbers.
PRINTED: dict[str, Callable[[Published], Any]] = {
    "probes": PrintedProbes,
    "answers": PrintedAnswers,
    "detection": PrintedDetection,
    "detection_end_to_end": lambda numbers: PrintedDetection(numbers, end_to_end=True),
}

PAPER = load(CLAIMS / "published.toml")
MISPRINT = "table_a7.mask_ap.dino"
MISPRINTED = PAPER.number(MISPRINT)


def claims() -> dict[str, Callable[..., Any]]:
    """The claims of the four files by id."""
    # pytest imports test modules by their bare names too, so that each is one module however it was reached.
    if str(CLAIMS) not in sys.path:
        sys.path.insert(0, str(CLAIMS))
    tests = [value for name in MODULES for value in vars(importlib.import_module(name)).values()]
    stated = {test.claim.id: test for test in tests if hasattr(test, "claim")}
    # What is plotted alone, or not in the paper, is decided on a profile's probes.
    measured = {id for id, test in stated.items() if {"probes", "agreements"} & set(inspect.signature(test).parameters)}
    return {id: test for id, test in stated.items() if test.claim.published == "numbers" or id not in measured}


TESTS = claims()

# Estimate and state of each part, in the order of the claim's parts, and the state of the whole.
S, R, N = State.SUPPORTED, State.REFUTED, State.NO_EVIDENCE
EXPECTED: dict[str, tuple[State, list[tuple[float | None, State]]]] = {
    # 76.33 - 67.73 and 77.78 - 67.73, error 0.055: both beyond 5.
    "lp-order": (S, [(8.60, S), (10.05, S)]),
    # Rounding cells 0.435-0.445 and 0.475-0.485: below 0.75.
    "nlp-je-small": (S, [(0.44, S), (0.48, S)]),
    # 1.325-1.335 is above 0.75; 1.33 - 0.44 and 1.33 - 0.48 are above 0.
    "nlp-mae-gain": (S, [(1.33, S), (0.89, S), (0.85, S)]),
    # 67.73 + 1.33 = 69.06; 76.33 and 77.78 are more than 3 above.
    "nlp-mae-below": (S, [(7.27, S), (8.72, S)]),
    # 69.53 - 67.73, error sqrt(0.07^2 + 0.10^2) / sqrt(5) = 0.055: at least 1.65, above 1.
    "inter-mae": (S, [(1.80, S)]),
    # 76.61 - 76.33 (not the printed 0.32), error 0.033: at most 0.35; 77.97 - 77.78, error 0.038: at most 0.27; within 0.5.
    "inter-je-null": (S, [(0.28, S), (0.19, S)]),
    # 70.12 - 67.73, error 0.048: at least 2.26, above 1.5; 70.12 - 69.53, error 0.036: at least 0.49, above 0.
    "all-mae": (S, [(2.39, S), (0.59, S)]),
    # 75.77 - 76.33, error 0.086: at most -0.32; 77.24 - 77.78, error 0.044: at most -0.42; below 0.
    "all-je-drop": (S, [(-0.56, S), (-0.54, S)]),
    # 30.25 - 28.75 and 28.56 - 26.67, cells of 0.01: above 0.5.
    "det-moco": (S, [(1.50, S), (1.89, S)]),
    # 30.25 - 29.97 and 28.56 - 28.16: above 0 as printed, of one run each.
    "det-dino-nomc": (S, [(0.28, S), (0.40, S)]),
    # 30.25 - 32.57 and 28.56 - 30.04: below 0.
    "det-dino-mc": (S, [(-2.32, S), (-1.48, S)]),
    # 18.69 - 15.49, 14.37 - 10.89, 18.69 - 17.55, 14.37 - 12.99: above 0.5.
    "det-small": (S, [(3.20, S), (3.48, S), (1.14, S), (1.38, S)]),
    # 39.93 - 40.21, 41.73 - 41.92, 39.93 - 40.82, 41.73 - 42.53: below 0.
    "det-large": (S, [(-0.28, S), (-0.19, S), (-0.89, S), (-0.80, S)]),
    # lp-order, det-moco, det-dino-nomc.
    "opposite": (S, [(8.60, S), (10.05, S), (1.50, S), (1.89, S), (0.28, S), (0.40, S)]),
    # 51.57 - 48.81, 45.84 - 43.18, 51.57 - 47.73 are above 1; DINO's mask AP is a misprint, so that the whole stays open.
    "detft-best": (N, [(2.76, S), (2.66, S), (3.84, S), (None, N)]),
    # 66.36 - 64.83, 63.84 - 62.86, 66.36 - 62.49, 63.84 - 60.03: above 0.
    "detft-large": (S, [(1.53, S), (0.98, S), (3.87, S), (3.81, S)]),
    # 35.27 - 32.79, 27.27 - 23.78, 35.27 - 32.17, 27.27 - 24.28: above 0.
    "detft-small": (S, [(2.48, S), (3.49, S), (3.10, S), (2.99, S)]),
    # 0.93 - 0.88 is above 0.02; 0.93 / 0.9855 - 0.88 / 0.914 = 0.9437 - 0.9628 is below it, rounding is 0.011 at most.
    "f1": (R, [(0.05, S), (-0.0191, R)]),
    # Plots.
    "det-inter": (N, [(None, N)]),
}

# Which numbers trade places so that the claimed effect is gone, by the ends of their keys, and what is then found.
JE_FOR_MAE = {"moco_v3": "mae"}
SWAPS: dict[str, tuple[dict[str, str], State]] = {
    # 67.73 - 76.33 = -8.60 and 77.78 - 76.33 = 1.45. Each part is REFUTED, the whole is not: 2000 draws over five runs bear no
    # p-value below 0.021, which Holm's correction for two parts doubles to more than 0.025.
    "lp-order": (JE_FOR_MAE, State.INCONCLUSIVE),
    # 1.33 is not below 0.75.
    "nlp-je-small": ({"depth_2_gain.first_je": "depth_3_gain.mae"}, State.REFUTED),
    # 0.44 is not above 0.75, nor above 1.33.
    "nlp-mae-gain": ({"depth_2_gain.first_je": "depth_3_gain.mae"}, State.REFUTED),
    # 67.73 - (76.33 + 1.33) = -9.93; as for lp-order.
    "nlp-mae-below": (JE_FOR_MAE, State.INCONCLUSIVE),
    # 0.28, error 0.033, is not above 1: one part.
    "inter-mae": (JE_FOR_MAE, State.REFUTED),
    # 1.80 is not within 0.5; as for lp-order.
    "inter-je-null": (JE_FOR_MAE, State.INCONCLUSIVE),
    # 75.77 - 76.33 = -0.56 and 75.77 - 76.61 = -0.84; as for lp-order.
    "all-mae": (JE_FOR_MAE, State.INCONCLUSIVE),
    # 2.39 is not below 0; as for lp-order.
    "all-je-drop": (JE_FOR_MAE, State.INCONCLUSIVE),
    "det-moco": (JE_FOR_MAE, State.REFUTED),
    "det-dino-nomc": ({"dino_no_multicrop": "mae"}, State.REFUTED),
    "det-dino-mc": ({"dino": "mae"}, State.REFUTED),
    "det-small": (JE_FOR_MAE, State.REFUTED),
    "det-large": (JE_FOR_MAE, State.REFUTED),
    "opposite": (JE_FOR_MAE, State.REFUTED),
    "detft-large": (JE_FOR_MAE, State.REFUTED),
    "detft-small": (JE_FOR_MAE, State.REFUTED),
    "f1": ({"dino_moco_v3": "mae_moco_v3"}, State.REFUTED),
}


def test_the_reversals_of_printed_numbers_are_the_claims_that_these_refute() -> None:
    known = {id for id, source in reversals.load(CLAIMS / "reversals.toml") if source == "published"}
    assert known == {id for id, (state, _) in EXPECTED.items() if state is R}


def with_numbers(**changed: Number) -> Published:
    return Published({**PAPER.numbers, **changed}, "changed")


def swapped(pairs: Mapping[str, str], paper: Published = PAPER) -> Published:
    """The paper with numbers in each other's places wherever one's key ends in one name and another's in the other."""
    places = dict(paper.numbers)
    for a, b in pairs.items():
        for key in [key for key in places if f".{key}".endswith(f".{a}")]:
            other = key.removesuffix(a) + b
            if other in places:
                places[key], places[other] = replace(places[other], key=key), replace(places[key], key=other)
    return Published(places, "swapped")


def parts(id: str, paper: Published) -> list[Decision]:
    """What a claim decides, part by part, with its own margin."""
    stated = TESTS[id].claim
    given: dict[str, Any] = {name: make(paper) for name, make in PRINTED.items()} | {"margin": stated.margin}
    given |= {"je": ["moco_v3", "dino"], "rec": ["mae"]}
    answer = TESTS[id](**{name: given[name] for name in inspect.signature(TESTS[id]).parameters})
    return [answer] if isinstance(answer, Decision) else list(answer)


def test_each_claim_with_printed_numbers_is_expected_and_swapped() -> None:
    assert set(TESTS) == set(EXPECTED)
    numbers = {id for id, test in TESTS.items() if test.claim.published == "numbers"}
    assert set(SWAPS) | {"detft-best"} == numbers


@pytest.mark.parametrize("id", EXPECTED)
def test_the_verdict_is_the_one_by_hand(id: str) -> None:
    whole, expected = EXPECTED[id]
    decided = parts(id, PAPER)
    assert [part.estimate for part in decided] == [None if e is None else pytest.approx(e, abs=5e-5) for e, _ in expected]
    assert [part.state for part in decided] == [state for _, state in expected]
    assert all_of(decided).state is whole


@pytest.mark.parametrize("id", SWAPS)
def test_with_the_models_swapped_there_is_no_support(id: str) -> None:
    pairs, expected = SWAPS[id]
    before, after = parts(id, PAPER), parts(id, swapped(pairs))
    assert [part.estimate for part in before] != [part.estimate for part in after]
    assert all_of(after).state is expected
    # What stands in the way is a part that was SUPPORTED before and is now on the other side of its margin.
    assert any((old.state, new.state) == (S, R) for old, new in zip(before, after, strict=True))


def test_intervals_are_those_of_t() -> None:
    [part] = parts("inter-mae", PAPER)
    error = ((0.07**2 + 0.10**2) / 5) ** 0.5
    assert part.interval == pytest.approx((1.80 - 2.776 * error, 1.80 + 2.776 * error), abs=0.001)
    assert (part.n, part.unit) == (5, "runs")
    [gap, _] = parts("det-dino-nomc", PAPER)
    assert (gap.n, gap.unit) == (1, "printed numbers")


def test_without_its_misprint_table_a7_decides() -> None:
    """About 42.3, the mask AP that the row's box AP suggests, in the place of 30.04."""
    corrected = replace(MISPRINTED, value=42.3, decimals=1, quarantined=None)
    paper = with_numbers(**{MISPRINT: corrected})
    decided = parts("detft-best", paper)
    # 45.84 - 42.3 = 3.54, rounding 0.055 at most.
    assert decided[3].estimate == pytest.approx(3.54)
    assert all_of(decided).state is State.SUPPORTED
    assert all_of(parts("detft-best", swapped(JE_FOR_MAE, paper))).state is State.REFUTED


def test_the_misprint_is_named() -> None:
    last = parts("detft-best", PAPER)[3]
    assert "30.04 is quarantined, a misprint" in last.reason
    assert "Table A7" in last.reason


def given(fixture: Any) -> Callable[..., Any]:
    """The function that a fixture decorates."""
    function: Callable[..., Any] = fixture._get_wrapped_function()
    return function
