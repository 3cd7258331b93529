"""The figures of detection, from planted artifacts whose numbers are known."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from harness.artifacts import store
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import MissingArtifact
from harness.artifacts.tables import DETECT, STATISTICS, TASKS, pack
from harness.evidence.resampling import DRAWS
from harness.models.tokens import LAYERS
from harness.page import detection
from harness.page.printed import beside
from harness.params.profile import END_TO_END
from harness.readings.published import load
from harness.stages.place import Place

IMAGES = 4
FROZEN, DEEPER, TRAINED = ("moco_v3", "moco_v3_1", "mae", "random"), ("mae",), ("mae",)
LEVEL = {"moco_v3": 0.2, "moco_v3_1": 0.9, "mae": 0.3, "random": 0.1}


@pytest.fixture
def detected(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    update = {"detected": FROZEN, "detected_deeper": DEEPER, "detected_by_block": DEEPER, "detected_end_to_end": TRAINED}
    own = place.params.model_copy(update={"profiles": {"embedded": place.settings.model_copy(update=update)}})
    known = Place(own, "embedded")
    for i, layers in enumerate(LAYERS):
        for model in FROZEN if layers == "final" else DEEPER:
            plant(known, layers, model, LEVEL[model] + 0.01 * i)
    plant(known, END_TO_END, "mae", 0.6)
    return known


def plant(place: Place, layers: str, model: str, level: float) -> None:
    """A detector whose AP is the level for boxes and half of it for masks, more by 0.01 for each further statistic."""
    rng = np.random.default_rng(0)
    own = level * np.array([1.0, 0.5])[:, None] + 0.01 * np.arange(len(STATISTICS))
    ap = own[:, :, None] + rng.normal(scale=0.002, size=(1, 1, 1 + DRAWS + IMAGES))
    ap[:, :, 0] = own
    mask = np.zeros((2, 8, 8), np.uint8)
    mask[:, 2:5, 1:4] = 1
    none = np.zeros((2, 4, 0), np.int16)
    arrays = {
        "ap": ap.astype(np.float32),
        "edges": np.array([[60.0, 120.0], [20.0, 40.0]]),
        "loss": np.ones(1, np.float32),
        "image": np.zeros(0, np.int16),
        "category": np.zeros(0, np.int16),
        "matched": none,
        "uncounted": none,
        "objects": np.ones((2, 2, 4, IMAGES), np.int16),
        "picture": np.full((3, 8, 8, 3), 90, np.uint8),
        "shown_picture": np.array([0, 2], np.int16),
        "shown_box": np.array([[1, 2, 3, 3], [1, 2, 3, 3]], np.float32),
        "shown_mask": mask,
        "shown_category": np.array([1, 0], np.int16),
        "shown_score": np.array([0.9, 0.6], np.float32),
        "categories": pack(["zero", "one"]),
    }
    provenance = place.provenance("harness.stages.detect", [layers], images="planted")
    store.write_arrays(place.path("detect", layers, model), DETECT, arrays, provenance)


def heights(figure: Figure, axis: int) -> list[float]:
    return [bar.get_height() for bar in figure.axes[axis].patches if isinstance(bar, Rectangle)]


def test_bars_are_points_of_the_first_runs_frozen_and_trained(detected: Place) -> None:
    figure, said = detection.by_size(detected)
    assert [axis.get_title() for axis in figure.axes] == [
        f"{name}, {row}" for row in ("frozen backbone", "backbone trained end to end") for name in ("boxes", "masks")
    ]
    sizes = [STATISTICS.index(name) for name in ("ap", "small", "medium", "large")]
    shown = ("moco_v3", "mae", "random")
    for axis, (task, share) in enumerate(zip(TASKS, (1.0, 0.5), strict=True)):
        expected = [100 * (share * LEVEL[model] + 0.01 * i) for model in shown for i in sizes]
        assert heights(figure, axis) == pytest.approx(expected, abs=1e-3), task
    assert heights(figure, 2) == pytest.approx([60 + i for i in sizes], abs=1e-3)
    for i, axis in enumerate(figure.axes):
        low, high = axis.get_ylim()
        assert low == 0
        assert max(heights(figure, i)) < high
    assert "MoCo-v3, boxes, frozen backbone: 20.0" in said
    assert "MAE, masks, backbone trained end to end: 30.0" in said


def test_further_blocks_are_groups_in_the_order_of_the_axis(detected: Place) -> None:
    figure, said = detection.by_blocks(detected)
    order = list(LAYERS)
    assert set(detection.READ) == set(order)
    assert heights(figure, 0) == pytest.approx([30 + order.index(layers) for layers in detection.READ], abs=1e-3)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(detection.READ.values())
    assert "MAE, boxes, last block twice: 34.0" in said
    assert "MoCo-v3" not in said


def test_a_model_without_a_group_has_no_bar_in_it(detected: Place) -> None:
    update = {"detected_deeper": ("mae", "moco_v3")}
    own = detected.params.model_copy(update={"profiles": {"embedded": detected.settings.model_copy(update=update)}})
    plant(detected, "final+9+10", "moco_v3", 0.25)
    figure, said = detection.by_blocks(Place(own, "embedded"))
    at = {bar.get_x() + bar.get_width() / 2: bar.get_height() for bar in figure.axes[0].patches if isinstance(bar, Rectangle)}
    groups: dict[str, list[tuple[int, int]]] = {"moco_v3": [], "mae": []}
    for centre, height in sorted(at.items()):
        groups["moco_v3" if centre < round(centre) else "mae"].append((round(centre), round(height)))
    assert groups["moco_v3"] == [(0, 20), (3, 25)]
    assert [group for group, _ in groups["mae"]] == [0, 1, 2, 3, 4]
    assert said.count("MoCo-v3, boxes") == 2


def test_only_groups_that_a_model_has_are_drawn(detected: Place) -> None:
    own = detected.settings.model_copy(update={"detected_by_block": ()})
    figure, _ = detection.by_blocks(Place(detected.params.model_copy(update={"profiles": {"embedded": own}}), "embedded"))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["last\nblock", "and blocks\n9 and 10"]
    assert len(heights(figure, 0)) == 2


def test_the_strip_has_every_image_and_what_is_found_in_it(detected: Place) -> None:
    figure, said = detection.pictures(detected)
    assert len(figure.axes) == 3 * 3
    first, second, third = figure.axes[:3]
    (box,) = (patch for patch in first.patches if isinstance(patch, Rectangle))
    # Pixels 1 to 3 and 2 to 4, whose centres are on whole numbers.
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((0.5, 1.5), 3.0, 3.0)
    assert [text.get_text() for text in first.texts] == ["one"]
    assert not second.patches
    assert [text.get_text() for text in third.texts] == ["zero"]
    overlay = np.asarray(first.images[1].get_array())
    assert np.argwhere(overlay[..., 3] > 0).tolist() == [[y, x] for y in (2, 3, 4) for x in (1, 2, 3)]
    assert "MAE: 2 objects are found" in said


def test_printed_ap_stands_beside_that_of_the_models_that_are_detected_with(detected: Place) -> None:
    Path("claims").mkdir()
    shutil.copy(ROOT / "claims" / "published.toml", "claims")
    rows, _ = beside(detected)
    told = {(row.where, row.what): row for row in rows if row.where.endswith("AP")}
    # Of Table 2 two models, of Table A6 the same two, of Table A7 one: six numbers each.
    assert len(told) == 5 * 6
    numbers = load(ROOT / "claims" / "published.toml").numbers
    row = told["Table 2, AP", "MoCo-v3, mask, large objects"]
    assert row.printed == f"{numbers['table2.mask_ap_large.moco_v3'].value:.2f}"
    assert float(row.ours.split()[0]) == pytest.approx(10 + STATISTICS.index("large"), abs=0.06)
    assert float(told["Table A7, AP", "MAE, box"].ours.split()[0]) == pytest.approx(60, abs=0.06)


@pytest.mark.parametrize("draw", [detection.by_size, detection.by_blocks, detection.pictures])
def test_without_detectors_each_figure_says_what_would_make_it(place: Place, draw: object) -> None:
    update = {"detected": (), "detected_deeper": (), "detected_by_block": (), "detected_end_to_end": ()}
    own = place.params.model_copy(update={"profiles": {"embedded": place.settings.model_copy(update=update)}})
    assert callable(draw)
    with pytest.raises(MissingArtifact, match=r"profiles\.embedded\.detected"):
        draw(Place(own, "embedded"))
