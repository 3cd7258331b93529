"""Table A7, appendix B: detection (box) and segmentation (mask) on COCO, the backbone fine-tuned end to end, in AP."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.evidence.claim import claim, undecided
from harness.evidence.decide import Decision, State, exceeds
from harness.readings.published import Published

TASKS = ("box", "mask")
JE = ("moco_v3", "dino")


@pytest.fixture
def fine_tuned(published: Callable[[str, str], Published]) -> Published:
    return published("detect", "box and mask AP of Mask R-CNN with each model fine-tuned end to end")


@claim(
    "detft-best",
    title="Fine-tuned MAE detects best",
    quantity="AP",
    where="B, Table A7",
    statement="With end-to-end fine-tuning MAE outperforms both MoCo-v3 and DINO on detection and segmentation.",
    reading="AP of MAE minus each JE model, for boxes and for masks; no evidence while one of these numbers is quarantined",
    margin=1.0,
    published="numbers",
)
def test_fine_tuned_mae_is_best(fine_tuned: Published, margin: float) -> list[Decision]:
    return _leads(fine_tuned, "ap", margin)


@claim(
    "detft-large",
    title="Fine-tuned MAE best on large objects",
    quantity="AP",
    main=True,
    where="B, Table A7",
    statement="With supervised fine-tuning the deficit of REC models on larger objects vanishes: they surpass JE models.",
    reading="AP on large objects of MAE minus each JE model, for boxes and for masks",
    margin=0.0,
    published="numbers",
)
def test_the_deficit_on_large_objects_vanishes(fine_tuned: Published, margin: float) -> list[Decision]:
    return _leads(fine_tuned, "ap_large", margin)


@claim(
    "detft-small",
    title="Fine-tuned MAE best on small objects",
    quantity="AP",
    where="B, Table A7",
    statement="With fine-tuning MAE outperforms both MoCo-v3 and DINO on small objects.",
    reading="AP on small objects of MAE minus each JE model, for boxes and for masks",
    margin=0.0,
    published="numbers",
)
def test_fine_tuned_mae_is_best_on_small_objects(fine_tuned: Published, margin: float) -> list[Decision]:
    return _leads(fine_tuned, "ap_small", margin)


def _leads(fine_tuned: Published, metric: str, margin: float) -> list[Decision]:
    pairs = [(f"table_a7.{task}_{metric}.mae", f"table_a7.{task}_{metric}.{je}") for je in JE for task in TASKS]
    return [_lead(fine_tuned, mae, je, margin) for mae, je in pairs]


def _lead(fine_tuned: Published, mae: str, je: str, margin: float) -> Decision:
    for key in (mae, je):
        number = fine_tuned.number(key)
        if number.quarantined:
            reason = f"{number.where}, {key.rpartition('.')[2]}: {number.value} is quarantined, {number.quarantined}"
            return undecided(State.NO_EVIDENCE, reason)
    return exceeds(fine_tuned.difference(mae, je), margin)
