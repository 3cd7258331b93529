"""AP as estimates: points of 100, paired over images, and detectors that are no better than an untrained network's."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import STATISTICS
from harness.evidence.resampling import DRAWS, SEED, bootstrap_counts
from harness.params.profile import END_TO_END
from harness.readings.detection import DetectionAccuracy, MeasuredDetection

N = 40


def accuracy(level: float, seed: int = 0, images: str = "scenes") -> DetectionAccuracy:
    """AP that is a mean over images, so that every resample of it is known."""
    own = level + np.random.default_rng(seed).normal(scale=0.02, size=(2, len(STATISTICS), N))
    weights = np.concatenate([np.ones((1, N)), bootstrap_counts(SEED, N, DRAWS), 1.0 - np.eye(N)])
    return DetectionAccuracy(np.einsum("rn,tsn->tsr", weights / weights.sum(1, keepdims=True), own), images)


def test_an_estimate_is_in_points_and_has_its_draws_and_its_jackknife() -> None:
    one = accuracy(0.3)
    found = one.points("mask", "small")
    values = 100 * one.ap[1, STATISTICS.index("small")]
    assert (found.value, found.n, found.unit) == (pytest.approx(values[0]), N, "images")
    assert found.draws == pytest.approx(values[1 : 1 + DRAWS])
    assert found.jackknife == pytest.approx(values[1 + DRAWS :])
    for task, statistic in (("boxes", "ap"), ("box", "tiny")):
        with pytest.raises(InvalidInput, match="one of"):
            one.points(task, statistic)


def test_differences_are_paired_over_the_images() -> None:
    measured = MeasuredDetection(lambda model, layers: {"a": accuracy(0.3), "b": accuracy(0.25)}[model], ["b"], {})
    gap = measured.difference("box", "ap", "a", "b")
    assert gap.value == pytest.approx(5)
    assert gap.interval()[1] - gap.interval()[0] == pytest.approx(0, abs=1e-9)
    other = MeasuredDetection(lambda model, layers: accuracy(0.3, images=model), [], {})
    with pytest.raises(InvalidInput, match="unpaired"):
        other.difference("box", "ap", "a", "b")


LEVELS = {"mae": 0.3, "moco_v3": 0.2, "random": 0.2, "random_learned": 0.25}


def measured_of(detectors: list[tuple[str, str]]) -> MeasuredDetection:
    """Detectors of frozen features, of these levels, and of trained backbones, which reach 0.6."""

    def of(model: str, layers: str) -> DetectionAccuracy:
        return accuracy(0.6 if layers == END_TO_END else LEVELS[model], list(LEVELS).index(model))

    return MeasuredDetection(of, ["random", "random_learned"], {name: partial(of, *name) for name in detectors})


def test_nothing_is_said_of_detectors_that_no_training_helped() -> None:
    measured = measured_of([("mae", "final"), ("mae", END_TO_END)])
    assert measured.uninformative("box", "ap", ["mae", "moco_v3"]) == ""
    reason = measured.uninformative("box", "ap", ["moco_v3"])
    assert reason.startswith("box ap over the untrained random_learned: moco_v3 -")


def test_nothing_is_said_where_no_detector_has_learnt_its_images() -> None:
    reason = measured_of([("mae", "final"), ("moco_v3", "final")]).uninformative("mask", "small", ["mae"])
    assert reason.startswith("box ap50 of the detectors: mae (final) 30.")
    assert "moco_v3 (final) 19." in reason
    assert "needed: 50 of one of them" in reason
    assert measured_of([]).uninformative("mask", "small", ["mae"]) != ""
    assert measured_of([("moco_v3", "final"), ("moco_v3", END_TO_END)]).uninformative("mask", "small", ["mae"]) == ""


@pytest.mark.parametrize("shape", [(2, 6, 1 + DRAWS), (1, 6, 1 + DRAWS + N), (2, 5, 1 + DRAWS + N), (2, 6)])
def test_ap_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="ap"):
        DetectionAccuracy(np.zeros(shape), "scenes")
