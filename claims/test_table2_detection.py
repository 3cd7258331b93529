"""Tables 2 and A6, Fig. 8, section 3.2: detection (box) and segmentation (mask) on COCO with a frozen backbone, in AP."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.evidence.claim import claim, undecided
from harness.evidence.decide import Decision, State, below, exceeds
from harness.evidence.estimate import Estimate
from harness.readings.published import Published

TASKS = ("box", "mask")
JE = ("moco_v3", "dino_no_multicrop")


@pytest.fixture
def detection(published: Callable[[str, str], Published]) -> Published:
    return published("detect", "box and mask AP of Mask R-CNN on frozen features of each model")


@claim(
    "det-moco",
    title="Frozen MAE detects better than MoCo-v3",
    quantity="AP",
    main=True,
    where="3.2, Table 2",
    statement="Frozen MAE features outperform MoCo-v3 features on detection and on segmentation.",
    reading="AP of MAE minus MoCo-v3, for boxes and for masks",
    margin=0.5,
    published="numbers",
)
def test_mae_detects_better_than_moco(detection: Published, margin: float) -> list[Decision]:
    return [exceeds(_lead(detection, f"{task}_ap", "moco_v3"), margin) for task in TASKS]


@claim(
    "det-dino-nomc",
    title="Frozen MAE beats DINO w/o multi-crop",
    quantity="AP",
    where="3.2, Table 2",
    statement="Frozen MAE outperforms a frozen DINO that was trained without multi-crop, on detection and on segmentation.",
    reading="AP of MAE minus DINO without multi-crop, for boxes and for masks",
    margin=0.0,
    published="numbers",
)
def test_mae_detects_better_than_dino_without_multicrop(detection: Published, margin: float) -> list[Decision]:
    return [exceeds(_lead(detection, f"{task}_ap", "dino_no_multicrop"), margin) for task in TASKS]


@claim(
    "det-dino-mc",
    title="Frozen multi-crop DINO beats MAE",
    quantity="AP",
    where="3.2, B, Table A6",
    statement="DINO as released, trained with multi-crop, initially outperforms MAE.",
    reading="AP of MAE minus DINO with multi-crop, for boxes and for masks",
    margin=0.0,
    published="numbers",
)
def test_dino_with_multicrop_detects_better_than_mae(detection: Published, margin: float) -> list[Decision]:
    return [below(detection.difference(f"table_a6.{task}_ap.mae", f"table_a6.{task}_ap.dino"), margin) for task in TASKS]


@claim(
    "det-small",
    title="Frozen MAE is better on small objects",
    quantity="AP",
    where="3.2, Table 2",
    statement="The frozen REC model performs better than JE models on smaller objects.",
    reading="AP on small objects of MAE minus each JE model (MoCo-v3, DINO without multi-crop), for boxes and for masks",
    margin=0.5,
    published="numbers",
)
def test_mae_is_better_on_small_objects(detection: Published, margin: float) -> list[Decision]:
    return [exceeds(_lead(detection, f"{task}_ap_small", je), margin) for je in JE for task in TASKS]


@claim(
    "det-large",
    title="Frozen MAE is worse on large objects",
    quantity="AP",
    where="3.2, Table 2",
    statement="The frozen REC model performs worse than JE models on larger objects.",
    reading="AP on large objects of MAE minus each JE model (MoCo-v3, DINO without multi-crop), for boxes and for masks",
    margin=0.0,
    published="numbers",
)
def test_mae_is_worse_on_large_objects(detection: Published, margin: float) -> list[Decision]:
    return [below(_lead(detection, f"{task}_ap_large", je), margin) for je in JE for task in TASKS]


@claim(
    "opposite",
    title="Classification and detection disagree",
    main=True,
    where="Abstract; 3.2",
    statement="Classification and tasks that need spatial specificity show opposite trends in transfer.",
    reading="lp-order, det-moco and det-dino-nomc, each with its own margin",
    published="numbers",
)
def test_classification_and_detection_trends_oppose(detection: Published) -> list[Decision]:
    probes = [detection.difference(f"table1.final.{je}", "table1.final.mae") for je in ("moco_v3", "dino")]
    return [
        *(exceeds(gap, 5.0) for gap in probes),
        *test_mae_detects_better_than_moco(detection, 0.5),
        *test_mae_detects_better_than_dino_without_multicrop(detection, 0.0),
    ]


@claim(
    "det-inter",
    title="Intermediate layers help all detectors",
    quantity="AP",
    main=True,
    where="3.2, Fig. 8",
    statement="Both REC and JE models detect better with additional intermediate features, unlike for classification.",
    reading="AP with blocks 9 and 10 beside the final block minus the final block alone, boxes and masks, each model",
    margin=0.0,
    published="plot",
)
def test_intermediate_features_help_all_models(detection: Published) -> Decision:
    return undecided(State.NO_EVIDENCE, "Fig. 8 shows a plot; no number is printed")


def _lead(detection: Published, metric: str, je: str) -> Estimate:
    return detection.difference(f"table2.{metric}.mae", f"table2.{metric}.{je}")
