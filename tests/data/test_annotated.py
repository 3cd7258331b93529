"""Annotated images: scenes as they are, and folders in COCO's format resized, with their objects, to a square."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.data.annotated import PADDING, composed, folder
from harness.params.images import ScenesData
from harness.params.load import load_params
from harness.params.profile import CocoParams

SIZES = [(40, 60), (60, 40), (30, 30)]
BOX = [10, 5, 20, 15]


def write(root: Path, **changes: Any) -> CocoParams:
    """Three images of one colour with a white rectangle, and their annotations."""
    images = root / "val2017"
    images.mkdir(parents=True)
    listed, objects = [], []
    x, y, w, h = BOX
    for i, (height, width) in enumerate(SIZES):
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[..., i] = 200
        pixels[y : y + h, x : x + w] = 255
        Image.fromarray(pixels).save(images / f"{i}.png")
        listed.append({"id": 7 - i, "file_name": f"{i}.png", "height": height, "width": width})
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        objects.append(
            {
                "id": i + 1,
                "image_id": 7 - i,
                "category_id": 90,
                "bbox": BOX,
                "area": w * h,
                "segmentation": [corners],
                "iscrowd": 0,
            }
        )
    raw = {"images": listed, "categories": [{"id": 90, "name": "toothbrush"}], "annotations": objects} | changes
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(raw))
    return CocoParams(root=str(root), size=120)


def test_scenes_are_read_as_they_are() -> None:
    known = load_params(ROOT / "params.yaml").of("embedded")
    assert isinstance(known.data, ScenesData)
    assert known.detection is not None
    assert known.detection.world is not None
    images = composed(known.data, known.detection.world, "validation", 4)
    side = known.detection.world.size
    assert (images.read([2, 0], side) == np.stack([images.decode(2), images.decode(0)])).all()
    assert all(images.scale(i, side) == 1 for i in range(4))
    assert all(images.instances(i, side) is images.objects.instances[i] for i in range(4))


def test_an_image_is_resized_to_fit_and_padded(tmp_path: Path) -> None:
    images = folder(write(tmp_path), "validation", 3)
    found = images.read(range(3), 120)
    assert found.shape == (3, 120, 120, 3)
    for i, (height, width) in enumerate(SIZES):
        scale = 120 / max(height, width)
        assert images.scale(i, 120) == scale
        used = np.zeros((120, 120), bool)
        used[: round(height * scale), : round(width * scale)] = True
        assert (found[i][~used] == PADDING).all()
        x, y, w, h = (round(number * scale) for number in BOX)
        # Away from the edge, which is smoothed.
        assert (found[i][y + 3 : y + h - 3, x + 3 : x + w - 3] == 255).all()
        assert (found[i][used][:, i] >= 198).all()


def test_objects_move_with_their_image(tmp_path: Path) -> None:
    images = folder(write(tmp_path), "validation", 3)
    for i in range(3):
        scale = images.scale(i, 120)
        own, known = images.instances(i, 120), images.objects.instances[i]
        assert own.box[0] == pytest.approx(scale * np.array(BOX))
        (mask,) = own.masks()
        x, y, w, h = (round(number * scale) for number in BOX)
        assert mask.shape == (120, 120)
        assert mask[y : y + h, x : x + w].all()
        assert mask.sum() == w * h
        # The area by which COCO calls an object small stays that of the image as it is.
        assert (own.area == known.area).all()


def test_the_digest_is_of_the_pixels(tmp_path: Path) -> None:
    first, again = (folder(write(tmp_path / name), "validation", 3) for name in ("a", "b"))
    assert first.digest() == again.digest()
    pixels = np.array(Image.open(tmp_path / "b" / "val2017" / "1.png"))
    pixels[0, 0, 0] += 1
    Image.fromarray(pixels).save(tmp_path / "b" / "val2017" / "1.png")
    assert first.digest() != again.digest()


def test_a_grey_image_is_read_in_colour(tmp_path: Path) -> None:
    params = write(tmp_path)
    Image.fromarray(np.full(SIZES[2], 77, np.uint8)).save(tmp_path / "val2017" / "2.png")
    assert (folder(params, "validation", 3).decode(2) == 77).all()


def test_what_is_broken_is_refused_by_name(tmp_path: Path) -> None:
    params = write(tmp_path)
    images = folder(params, "validation", 3)
    (tmp_path / "val2017" / "0.png").unlink()
    with pytest.raises(MissingArtifact, match=r"(?s)0\.png.*annotated and not there"):
        images.read([0], 120)
    path = tmp_path / "val2017" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InvalidInput, match=r"(?s)1\.png.*whole image file"):
        images.read([1], 120)
    Image.new("RGB", (31, 30)).save(tmp_path / "val2017" / "2.png")
    with pytest.raises(InvalidInput, match=r"(?s)2\.png.*30 x 31.*30 x 30, as annotated"):
        images.read([2], 120)
    with pytest.raises(InvalidInput, match=r"(?s)instances_val2017\.json.*3.*at least 4, as detection\.validation"):
        folder(params, "validation", 4)
    with pytest.raises(MissingArtifact, match=r"instances_train2017\.json"):
        folder(params, "train", 1)
    (tmp_path / "annotations" / "instances_val2017.json").write_text('{"images": [')
    with pytest.raises(InvalidInput, match="whole JSON file"):
        folder(params, "validation", 1)
