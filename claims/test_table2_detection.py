"""Tables 2 and A6, Fig. 8, section 3.2: detection (box) and segmentation (mask) on COCO with a frozen backbone, in AP."""

from __future__ import annotations

from collections.abc import Sequence

from harness.artifacts.tables import TASKS
from harness.evidence.claim import claim, undecided
from harness.evidence.decide import Decision, State, all_of, below, exceeds
from harness.readings.detection import UNLEARNT, Detection, PrintedDetection
from harness.readings.probes import Probes, difference

JE = ("moco_v3", "dino_nomc")
INFORMATIVE = f"{UNLEARNT}, and where neither model is above the best untrained network"


@claim(
    "det-moco",
    title="Frozen MAE detects better than MoCo-v3",
    quantity="AP",
    main=True,
    where="3.2, Table 2",
    statement="Frozen MAE features outperform MoCo-v3 features on detection and on segmentation.",
    reading=f"AP of MAE minus MoCo-v3, for boxes and for masks{INFORMATIVE}",
    margin=0.5,
    published="numbers",
    asks="difference",
)
def test_mae_detects_better_than_moco(detection: Detection, margin: float) -> list[Decision]:
    return _leads(detection, "ap", ["moco_v3"], margin)


@claim(
    "det-dino-nomc",
    title="Frozen MAE beats DINO w/o multi-crop",
    quantity="AP",
    where="3.2, Table 2",
    statement="Frozen MAE outperforms a frozen DINO that was trained without multi-crop, on detection and on segmentation.",
    reading=f"AP of MAE minus DINO without multi-crop, for boxes and for masks{INFORMATIVE}",
    margin=0.0,
    published="numbers",
    asks="difference",
)
def test_mae_detects_better_than_dino_without_multicrop(detection: Detection, margin: float) -> list[Decision]:
    return _leads(detection, "ap", ["dino_nomc"], margin)


@claim(
    "det-dino-mc",
    title="Frozen multi-crop DINO beats MAE",
    quantity="AP",
    where="3.2, B, Table A6",
    statement="DINO as released, trained with multi-crop, initially outperforms MAE.",
    reading=f"AP of MAE minus DINO with multi-crop, for boxes and for masks{INFORMATIVE}",
    margin=0.0,
    published="numbers",
    asks="difference",
)
def test_dino_with_multicrop_detects_better_than_mae(detection: Detection, margin: float) -> list[Decision]:
    return _leads(detection, "ap", ["dino"], margin, higher=False)


@claim(
    "det-small",
    title="Frozen MAE is better on small objects",
    quantity="AP",
    where="3.2, Table 2",
    statement="The frozen REC model performs better than JE models on smaller objects.",
    reading=f"AP on small objects of MAE minus MoCo-v3 and minus DINO without multi-crop, boxes and masks{INFORMATIVE}",
    margin=0.5,
    published="numbers",
    asks="difference",
)
def test_mae_is_better_on_small_objects(detection: Detection, margin: float) -> list[Decision]:
    return _leads(detection, "small", JE, margin)


@claim(
    "det-large",
    title="Frozen MAE is worse on large objects",
    quantity="AP",
    where="3.2, Table 2",
    statement="The frozen REC model performs worse than JE models on larger objects.",
    reading=f"AP on large objects of MAE minus MoCo-v3 and minus DINO without multi-crop, boxes and masks{INFORMATIVE}",
    margin=0.0,
    published="numbers",
    asks="difference",
)
def test_mae_is_worse_on_large_objects(detection: Detection, margin: float) -> list[Decision]:
    return _leads(detection, "large", JE, margin, higher=False)


@claim(
    "opposite",
    title="Classification and detection disagree",
    main=True,
    where="Abstract; 3.2",
    statement="Classification and tasks that need spatial specificity show opposite trends in transfer.",
    reading="lp-order, det-moco and det-dino-nomc, each with its own margin",
    published="numbers",
)
def test_classification_and_detection_trends_oppose(detection: Detection, probes: Probes) -> list[Decision]:
    gaps = [difference(probes, (je, "final"), ("mae", "final")) for je in ("moco_v3", "dino")]
    return [
        *(exceeds(gap, 5.0) for gap in gaps),
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
    reading="AP with blocks 9 and 10 beside the final block minus the final block alone, boxes and masks, each model"
    f"{UNLEARNT}",
    margin=0.0,
    published="plot",
)
def test_intermediate_features_help_all_models(
    detection: Detection, je: Sequence[str], rec: Sequence[str], margin: float
) -> Decision:
    if isinstance(detection, PrintedDetection):
        return undecided(State.NO_EVIDENCE, "Fig. 8 shows a plot; no number is printed")
    if weak := detection.unlearnt():
        return undecided(State.UNCALIBRATED, weak)
    gains = [detection.gain(task, model, "final+9+10") for model in (*je, *rec) for task in TASKS]
    return all_of([exceeds(gain, margin) for gain in gains])


def _leads(detection: Detection, statistic: str, je: Sequence[str], margin: float, *, higher: bool = True) -> list[Decision]:
    """AP of MAE minus each JE model, for boxes and for masks, above or below the margin."""
    decide = exceeds if higher else below
    decisions = []
    for model in je:
        for task in TASKS:
            blind = detection.uninformative(task, statistic, ["mae", model])
            if blind:
                return [undecided(State.UNCALIBRATED, blind)]
            decisions.append(decide(detection.difference(task, statistic, "mae", model), margin))
    return decisions
