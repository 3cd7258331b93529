from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.tables import REGIONS
from harness.readings.readings import Readings
from harness.readings.segmentation import Segmentation

RNG = np.random.default_rng(0)
UNION = RNG.integers(20, 40, (12, 5, 100)).astype(float)
FOUND = Segmentation(np.floor(UNION * RNG.uniform(0.3, 0.9, UNION.shape)), UNION, "images")


def test_iou_is_of_all_pixels_together_and_not_the_mean_over_images() -> None:
    found = FOUND.iou("small", 3)
    row = REGIONS.index("small")
    assert found.value == pytest.approx(FOUND.intersection[3, row].sum() / FOUND.union[3, row].sum())
    low, high = found.interval()
    assert low < found.value < high
    assert FOUND.iou("small").value == FOUND.iou("small", 11).value


@pytest.mark.parametrize(("region", "block"), [("tiny", 0), ("small", 12), ("small", -13)])
def test_what_is_not_there_is_refused(region: str, block: int) -> None:
    with pytest.raises(InvalidInput, match="segmentation"):
        FOUND.iou(region, block)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="pixels"):
        replace(FOUND, union=UNION[:, :4])


def test_a_model_that_is_not_segmented_is_missing_and_the_message_says_what_to_add() -> None:
    readings = Readings.of("embedded", ROOT)
    assert readings.segmentation("supervised").blocks == 12
    with pytest.raises(MissingArtifact, match=r"(?s)segmented has no random_resnet50.*add random_resnet50 to it"):
        readings.segmentation("random_resnet50")
