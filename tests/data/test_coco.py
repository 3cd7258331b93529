"""Annotations in COCO's format: every form of a mask, what is refused, and the embedded scenes' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.data import coco, scenes, sprites
from harness.params.load import load_params

POLYGON = [[2.0, 1.0, 8.0, 1.0, 8.0, 5.0, 2.0, 5.0]]


def raw(**changes: Any) -> dict[str, Any]:
    annotation = {"id": 7, "image_id": 30, "category_id": 5, "bbox": [2, 1, 6, 4], "area": 24.0, "segmentation": POLYGON}
    return {
        "images": [{"id": 30, "width": 12, "height": 10, "file_name": "a.jpg"}, {"id": 4, "width": 5, "height": 6}],
        "categories": [{"id": 9, "name": "dog"}, {"id": 5, "name": "cat"}],
        "annotations": [annotation | {"iscrowd": 0} | changes],
    }


def test_polygons_and_both_run_lengths_are_one_mask() -> None:
    polygon = coco.parse(raw(), "x").instances[0]
    (mask,) = polygon.masks()
    assert mask.shape == (10, 12)
    assert mask[1:5, 2:8].all()
    assert mask.sum() == 24
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat.astype(int))) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    uncompressed = coco.parse(raw(segmentation={"size": [10, 12], "counts": counts}), "x").instances[0]
    compressed = coco.parse(raw(segmentation=dict(coco.encode(mask))), "x").instances[0]
    assert (uncompressed.masks()[0] == mask).all()
    assert (compressed.masks()[0] == mask).all()


def test_images_without_objects_stay_and_categories_are_numbered_by_their_ids() -> None:
    found = coco.parse(raw(), "x")
    assert (len(found), found.name, found.categories) == (2, ("a.jpg", "4"), ("cat", "dog"))
    assert [len(one) for one in found.instances] == [1, 0]
    assert found.instances[0].category.tolist() == [0]
    assert found.size.tolist() == [[10, 12], [6, 5]]
    assert found.instances[1].masks().shape[0] == 0
    assert coco.parse(raw(iscrowd=1), "x").instances[0].crowd.tolist() == [True]
    assert coco.parse(raw(iscrowd=1), "x").areas().size == 0


def test_a_box_is_cut_off_at_the_border() -> None:
    assert coco.parse(raw(bbox=[-3, 6, 30, 30]), "x").instances[0].box.tolist() == [[0, 6, 12, 4]]


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"bbox": [20, 1, 6, 4]}, "bbox"),
        ({"bbox": [2, 1, 0, 4]}, "bbox"),
        ({"image_id": 31}, "image_id.*31"),
        ({"category_id": 1}, "category_id.*1.*9, 5|category_id.*1.*5, 9"),
        ({"segmentation": {"size": [12, 10], "counts": [120]}}, r"segmentation\.size.*\[12, 10\].*\[10, 12\]"),
        ({"segmentation": []}, "segmentation"),
        ({"segmentation": None}, "segmentation"),
    ],
)
def test_annotations_that_cannot_be_are_refused(changes: dict[str, Any], seen: str) -> None:
    with pytest.raises(InvalidInput, match=rf"(?s)annotation 7\.{seen}"):
        coco.parse(raw(**changes), "x")


@pytest.mark.parametrize("key", ["image_id", "category_id", "bbox", "area", "segmentation"])
def test_a_missing_key_is_named(key: str) -> None:
    broken = raw()
    del broken["annotations"][0][key]
    with pytest.raises(InvalidInput, match=rf"annotation 7\.{key}"):
        coco.parse(broken, "x")


@pytest.mark.parametrize("name", ["images", "categories", "annotations"])
def test_ids_stand_once_and_lists_are_there(name: str) -> None:
    twice = raw()
    twice[name] = twice[name] * 2
    with pytest.raises(InvalidInput, match=rf"(?s)id of {name}.*twice"):
        coco.parse(twice, "x")
    gone = raw()
    del gone[name]
    with pytest.raises(InvalidInput, match=name):
        coco.parse(gone, "x")


def test_files_that_are_not_there_or_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    with pytest.raises(MissingArtifact, match="instances"):
        coco.load(path)
    path.write_text(json.dumps(raw()))
    assert len(coco.load(path)) == 2
    path.write_text(json.dumps(raw())[:-20])
    with pytest.raises(InvalidInput, match="whole JSON"):
        coco.load(path)


def test_the_embedded_scenes_are_annotated_as_they_are_composed() -> None:
    data: Any = load_params(ROOT / "params.yaml").of("embedded").data
    world = data.world.model_copy(update={"size": 32, "objects": (1, 4), "scale": (0.2, 0.45)})
    made = scenes.compose(sprites.load(data.sprites, "train", None), world, "train", np.arange(20))
    found = coco.parse(made.coco(), "scenes")
    assert len(found) == 20
    assert 1.5 < np.mean([len(one) for one in found.instances]) < 3.5
    for one in found.instances:
        for mask, box, area in zip(one.masks(), one.box, one.area, strict=True):
            rows, columns = np.nonzero(mask)
            expected = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert (box.tolist(), area) == (expected, mask.sum())
