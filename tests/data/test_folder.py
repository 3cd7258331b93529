"""Classes and files of an image folder: other nestings, endings and stray files that users bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from harness.artifacts.errors import InvalidInput
from harness.data import folder, images
from tests.data.conftest import reader


def fill(root: Path, *paths: str) -> Path:
    for i, path in enumerate(paths):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(file)
    return root


def views(split: str) -> list[str]:
    return [f"{split}/{name}/{view}/{i}.png" for name in ("cat", "dog", "eel") for view in ("front", "side") for i in range(3)]


def test_the_first_folder_is_the_class_at_any_depth_as_in_torchvision(tmp_path: Path) -> None:
    fill(tmp_path, *views("train"), "train/dog/x.png", "train/eel/a/b/c/y.png")
    found = folder.read(tmp_path / "train", "train")
    peer = ImageFolder(str(tmp_path / "train"))
    assert found.classes == tuple(peer.classes) == ("cat", "dog", "eel")
    assert sorted(found.samples) == sorted(peer.samples)
    assert len(found.samples) == 20
    assert found.left_out == ()


def test_tiny_imagenets_classes_are_its_wnids(tmp_path: Path) -> None:
    wnids = ("n01443537", "n01629819")
    paths = [f"{split}/{w}/images/{w}_{i}.JPEG" for split in ("train", "val") for w in wnids for i in range(2)]
    source = images.load(reader(fill(tmp_path, *paths)), "validation", 4, 0)
    assert folder.read(tmp_path / "train", "train").classes == wnids
    assert (source.classes, sorted(source.label.tolist())) == (2, [0, 0, 1, 1])


@pytest.mark.parametrize("ending", ["webp", "bmp", "tiff", "gif", "ppm", "JPG", "jpeg", "WebP"])
def test_every_ending_that_pillow_opens_counts(tmp_path: Path, ending: str) -> None:
    fill(tmp_path, f"train/ant/a.{ending}", f"train/ant/b.{ending}", "train/bee/c.png")
    source = images.load(reader(tmp_path), "train", 3, 0)
    assert sorted(source.label.tolist()) == [0, 0, 1]
    assert source.read(np.arange(3)).shape == (3, 16, 16, 3)


def test_files_left_out_are_told_in_one_line_with_their_number_and_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, "train/ant/a.png", "train/bee/b.png", "train/bee/._b.png", "train/.cache/c.png")
    (tmp_path / "train" / "bee" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "train" / "labels.csv").write_text("a,b")
    assert images.load(reader(tmp_path), "train", 2, 0).classes == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    for part in (str(tmp_path / "train"), "4 files", "Thumbs.db", "._b.png", "labels.csv", ".cache"):
        assert part in told[0]
    (tmp_path / "train" / "labels.csv").unlink()
    (tmp_path / "train" / "bee" / "Thumbs.db").unlink()
    (tmp_path / "train" / "bee" / "._b.png").unlink()
    (tmp_path / "train" / ".cache" / "c.png").unlink()
    (tmp_path / "train" / ".cache").rmdir()
    images.load(reader(tmp_path), "train", 2, 0)
    assert capsys.readouterr().err == ""


def test_a_class_without_an_image_file_is_refused_and_does_not_vanish(tmp_path: Path) -> None:
    fill(tmp_path, "train/ant/a.png", "train/bee/b.png")
    (tmp_path / "train" / "cow").mkdir()
    (tmp_path / "train" / "cow" / "c.txt").write_text("no picture")
    with pytest.raises(InvalidInput, match="images of train") as caught:
        images.load(reader(tmp_path), "train", 2, 0)
    assert "cow" in str(caught.value)
    assert "c.txt" in str(caught.value)


def test_images_without_a_class_folder_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/a.png", "train/b.png")
    with pytest.raises(InvalidInput, match="2 image files and no folders"):
        images.load(reader(tmp_path), "train", 2, 0)


def test_one_level_too_many_is_refused_and_both_readings_are_shown(tmp_path: Path) -> None:
    root = fill(tmp_path, "train/images/ant/a.png", "train/images/bee/b.png")
    with pytest.raises(InvalidInput, match="images, which holds 2 folders") as caught:
        images.load(reader(root), "train", 2, 0)
    assert "set data.train_split to train/images" in str(caught.value)
    source = images.load(reader(root, train_split="train/images"), "train", 2, 0)
    assert (source.classes, sorted(source.label.tolist())) == (2, [0, 1])


def test_one_class_is_one_class_and_a_thousand_are_a_thousand(tmp_path: Path) -> None:
    one = images.load(reader(fill(tmp_path / "one", "train/ant/a.png", "train/ant/b.png")), "train", 2, 0)
    assert (one.classes, one.label.tolist()) == (1, [0, 0])
    many = fill(tmp_path / "many", *[f"train/{i:04}/a.png" for i in range(1000)])
    source = images.load(reader(many), "train", 1000, 0)
    assert source.classes == 1000
    assert sorted(source.label.tolist()) == list(range(1000))


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    fill(tmp_path, "store/ant/a.png", "store/bee/b.png")
    (tmp_path / "train").mkdir()
    for name in ("ant", "bee"):
        (tmp_path / "train" / name).symlink_to(tmp_path / "store" / name)
    assert images.load(reader(tmp_path), "train", 2, 0).classes == 2
