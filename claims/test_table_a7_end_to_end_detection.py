"""Table A7, appendix B: detection (box) and segmentation (mask) on COCO, the backbone fine-tuned end to end, in AP."""

from __future__ import annotations

from harness.artifacts.tables import TASKS
from harness.evidence.claim import claim, undecided
from harness.evidence.decide import Decision, State, exceeds
from harness.readings.detection import UNLEARNT, Detection

JE = ("moco_v3", "dino")
INFORMATIVE = f"{UNLEARNT}, and where neither model is above the best network that starts untrained"


@claim(
    "detft-best",
    title="Fine-tuned MAE detects best",
    quantity="AP",
    where="B, Table A7",
    statement="With end-to-end fine-tuning MAE outperforms both MoCo-v3 and DINO on detection and segmentation.",
    reading=f"AP of MAE minus each JE model, for boxes and for masks; no evidence where a number is quarantined{INFORMATIVE}",
    margin=1.0,
    published="numbers",
    asks="difference",
)
def test_fine_tuned_mae_is_best(detection_end_to_end: Detection, margin: float) -> list[Decision]:
    return _leads(detection_end_to_end, "ap", margin)


@claim(
    "detft-large",
    title="Fine-tuned MAE best on large objects",
    quantity="AP",
    main=True,
    where="B, Table A7",
    statement="With supervised fine-tuning the deficit of REC models on larger objects vanishes: they surpass JE models.",
    reading=f"AP on large objects of MAE minus each JE model, for boxes and for masks{INFORMATIVE}",
    margin=0.0,
    published="numbers",
    asks="difference",
)
def test_the_deficit_on_large_objects_vanishes(detection_end_to_end: Detection, margin: float) -> list[Decision]:
    return _leads(detection_end_to_end, "large", margin)


@claim(
    "detft-small",
    title="Fine-tuned MAE best on small objects",
    quantity="AP",
    where="B, Table A7",
    statement="With fine-tuning MAE outperforms both MoCo-v3 and DINO on small objects.",
    reading=f"AP on small objects of MAE minus each JE model, for boxes and for masks{INFORMATIVE}",
    margin=0.0,
    published="numbers",
    asks="difference",
)
def test_fine_tuned_mae_is_best_on_small_objects(detection_end_to_end: Detection, margin: float) -> list[Decision]:
    return _leads(detection_end_to_end, "small", margin)


def _leads(detection: Detection, statistic: str, margin: float) -> list[Decision]:
    decisions = []
    for model in JE:
        for task in TASKS:
            blind = detection.uninformative(task, statistic, ["mae", model])
            if blind:
                return [undecided(State.UNCALIBRATED, blind)]
            withheld = detection.withheld(task, statistic, ["mae", model])
            if withheld:
                decisions.append(undecided(State.NO_EVIDENCE, withheld))
            else:
                decisions.append(exceeds(detection.difference(task, statistic, "mae", model), margin))
    return decisions
