"""The stage detect at the profile `paper`, on a small folder of photographs' kind in the format of COCO 2017."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from harness.artifacts import store
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import DETECT, unpack
from harness.params.load import check_params
from harness.params.profile import END_TO_END
from harness.stages import detect, weights
from harness.stages.place import Place

IMAGES = 12
# Of a small, a medium and a large object by COCO's bands, which are of the image as it is.
SIDES = {"cup": 20, "cat": 60, "bus": 110}


def write(root: Path, split: str) -> None:
    """Upright and lying JPEGs with one object of each category, a rectangle of its own colour."""
    rng = np.random.default_rng(len(split))
    (root / split).mkdir(parents=True)
    images, objects = [], []
    for i in range(IMAGES):
        height, width = (240, 320) if i % 2 else (320, 240)
        pixels = rng.integers(100, 140, (height, width, 3), dtype=np.uint8)
        corner = {"cup": (200, 5), "cat": (5, 5), "bus": (90, 90)}
        for j, (name, side) in enumerate(SIDES.items()):
            y, x = (number + int(rng.integers(0, 20)) for number in corner[name])
            pixels[y : y + side, x : x + side] = np.eye(3, dtype=np.uint8)[j] * 255
            polygon = [x, y, x + side, y, x + side, y + side, x, y + side]
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": i + 1,
                    "category_id": j + 1,
                    "bbox": [x, y, side, side],
                    "area": side**2,
                    "segmentation": [polygon],
                    "iscrowd": 0,
                }
            )
        Image.fromarray(pixels).save(root / split / f"{i:012d}.jpg", quality=95)
        images.append({"id": i + 1, "file_name": f"{i:012d}.jpg", "height": height, "width": width})
    categories = [{"id": j + 1, "name": name} for j, name in enumerate(SIDES)]
    (root / "annotations").mkdir(exist_ok=True)
    raw = {"images": images, "categories": categories, "annotations": objects}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(raw))


def place(root: Path, **changes: Any) -> Place:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    profile = raw["profiles"]["paper"]
    profile["architectures"]["vit"] = {"name": "vit_tiny_patch16_224", "options": {"depth": 4}}
    small = {"train": IMAGES, "validation": IMAGES, "channels": 16, "epochs": 2, "batch": 4, "rate": 2.0e-3, "warmup_steps": 2}
    profile["detection"] |= {"coco": {"root": str(root), "size": 160}, "anchors": [8, 16, 32, 64]} | small | changes
    return Place(check_params(raw, "params.yaml"), "paper")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coco")
    for split in ("train2017", "val2017"):
        write(root / "coco", split)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        weights.run(place(root / "coco"), "random")
    return root


@pytest.mark.parametrize("layers", ["final+9", END_TO_END])
def test_a_folder_in_the_format_of_coco_goes_through(folder: Path, layers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    own = place(folder / "coco")
    detect.run(own, "random", layers)
    found = store.read_arrays(own.path("detect", layers, "random"), DETECT)
    assert found["edges"].tolist() == [[32**2, 96**2]] * 2
    assert unpack(found["categories"]) == list(SIDES)
    # Every image has an object of each band, and of each category: small cups, medium cats, large buses.
    assert (found["objects"] == np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]])[:, :, None]).all()
    assert found["picture"].shape == (detect.PICTURES, 160, 160, 3)
    assert np.isfinite(found["loss"]).all()
    assert found["ap"].shape[2] > IMAGES


def test_features_that_do_not_fit_into_memory_are_read_again_and_give_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    own = place(folder / "coco")
    found = []
    for most in (detect.CACHED, 0):
        monkeypatch.setattr(detect, "CACHED", most)
        detect.run(own, "random", "final")
        found.append(store.read_arrays(own.path("detect", "final", "random"), DETECT))
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-3)
    assert found[0]["ap"].shape == found[1]["ap"].shape


def test_detectors_need_the_folder_of_their_images() -> None:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["profiles"]["paper"]["detected"] = ["mae"]
    with pytest.raises(InvalidInput, match=r"(?s)paper\.detection\.coco\.root.*detectors for mae.*the folder of COCO 2017"):
        check_params(raw, "params.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"coco": None}, r"(?s)detection.*neither.*either world"),
        ({"masked": 9}, r"(?s)detection\.masked.*9.*at most 4"),
        ({"world": {"size": 32}}, r"(?s)detection.*both.*either world"),
        ({"coco": None, "world": {"size": 32}}, r"(?s)detection\.world.*coco, a folder"),
    ],
)
def test_a_detector_without_its_images_is_refused(folder: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        place(folder / "coco", **changes)
