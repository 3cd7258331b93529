"""Images by number: scenes as they are composed, and files on disk decoded whole, upright and in colour or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.data import images, scenes, sprites
from harness.params.images import ReaderData, ScenesData
from harness.params.load import load_params
from tests.data.conftest import reader

CLASSES = ("ant", "bee", "cow")


@pytest.fixture(scope="module")
def world() -> ScenesData:
    data = load_params(ROOT / "params.yaml").of("embedded").data
    assert isinstance(data, ScenesData)
    return data


def noise(seed: int, size: tuple[int, int] = (16, 16)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of four PNGs in each of train and validation; PNG keeps every pixel."""
    for s, split in enumerate(("train", "validation")):
        for c, name in enumerate(CLASSES):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(4):
                Image.fromarray(noise(100 * s + 10 * c + i)).save(tmp_path / split / name / f"{i}.png")
    return tmp_path


def everything(source: images.Images) -> NDArray[np.uint8]:
    return source.read(np.arange(len(source)))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_scenes_are_the_composed_ones_and_so_are_their_labels(world: ScenesData, split: str) -> None:
    source = images.load(world, split, 300, 0)
    composed = scenes.compose(sprites.load("digits", split), world.world, split, np.arange(300))
    np.testing.assert_array_equal(source.label, composed.label[:, 0])
    np.testing.assert_array_equal(everything(source), composed.image)
    assert (len(source), source.classes, source.label.dtype) == (300, 10, np.int64)


def test_batches_and_parts_cover_all_images_in_order(world: ScenesData) -> None:
    source = images.load(world, "train", 70, 0)
    whole = everything(source)
    batches = list(source.batches(32))
    assert [len(batch) for batch in batches] == [32, 32, 6]
    np.testing.assert_array_equal(np.concatenate(batches), whole)
    first, second = source.part(0, 30), source.part(30, 70)
    np.testing.assert_array_equal(np.concatenate([everything(first), *second.batches(16)]), whole)
    np.testing.assert_array_equal(np.concatenate([first.label, second.label]), source.label)
    np.testing.assert_array_equal(second.part(5, 9).read(np.array([1, 0])), whole[[36, 35]])
    assert len(source.part(70, 70)) == 0


@pytest.mark.parametrize(("start", "stop"), [(0, 71), (-1, 5), (9, 3)])
def test_a_part_beyond_the_images_is_refused(world: ScenesData, start: int, stop: int) -> None:
    with pytest.raises(InvalidInput, match=f"{start} to {stop}") as caught:
        images.load(world, "train", 70, 0).part(start, stop)
    assert "0 to 70" in str(caught.value)


@pytest.mark.parametrize("split", ["test", "val", "Train", ""])
def test_an_unknown_split_is_never_the_validation_split(world: ScenesData, folder: Path, split: str) -> None:
    for data in (world, reader(folder)):
        with pytest.raises(InvalidInput, match="train or validation"):
            images.load(data, split, 2, 0)


def test_hashes_are_equal_for_equal_pixels_only() -> None:
    pixels = np.concatenate([[noise(i)] for i in range(50)])
    twice = np.concatenate([pixels, pixels[::-1]])
    found = images.hashes(twice)
    assert (found.shape, found.dtype) == ((100,), np.int64)
    np.testing.assert_array_equal(found[:50], found[50:][::-1])
    assert len(set(found.tolist())) == 50
    # Of the pixels and not of how they lie in memory; one step of one channel is another image.
    np.testing.assert_array_equal(images.hashes(np.asfortranarray(pixels)), found[:50])
    pixels[7, 3, 4, 1] ^= 1
    assert (images.hashes(pixels) != found[:50]).nonzero()[0].tolist() == [7]


def test_the_embedded_splits_share_no_image_and_repeat_none(world: ScenesData) -> None:
    train, validation = (
        set(images.hashes(everything(images.load(world, split, 1000, 0))).tolist()) for split in ("train", "validation")
    )
    assert len(train) == len(validation) == 1000
    assert not train & validation


def test_files_are_read_with_their_folders_label_in_an_order_drawn_from_the_seed(folder: Path) -> None:
    source = images.load(reader(folder), "train", 12, 0)
    known = {noise(10 * c + i).tobytes(): c for c in range(3) for i in range(4)}
    pixels = everything(source)
    assert [known[image.tobytes()] for image in pixels] == source.label.tolist()
    assert (source.classes, source.label.dtype) == (3, np.int64)
    assert len(set(images.hashes(pixels).tolist())) == 12
    np.testing.assert_array_equal(everything(images.load(reader(folder), "train", 12, 0)), pixels)
    np.testing.assert_array_equal(everything(images.load(reader(folder), "train", 5, 0)), pixels[:5])
    other = everything(images.load(reader(folder), "train", 12, 1))
    assert (other != pixels).any()
    assert set(images.hashes(other).tolist()) == set(images.hashes(pixels).tolist())
    # Not the folder's own order, in which the first images would all be of one class.
    assert len(set(source.label[:4].tolist())) > 1


def test_classes_are_those_of_the_folder_however_few_images_are_drawn(folder: Path) -> None:
    assert {images.load(reader(folder), "validation", 1, seed).classes for seed in range(8)} == {3}


def test_the_splits_are_different_folders_under_any_name(folder: Path) -> None:
    train, validation = (images.hashes(everything(images.load(reader(folder), s, 12, 0))) for s in ("train", "validation"))
    assert not set(train.tolist()) & set(validation.tolist())
    (folder / "validation").rename(folder / "val")
    for data in (reader(folder), reader(folder, validation_split="val")):
        np.testing.assert_array_equal(images.hashes(everything(images.load(data, "validation", 12, 0))), validation)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_a_folder_is_missing_and_never_the_whole_root(folder: Path, split: str) -> None:
    (folder / split).rename(folder / "elsewhere")
    with pytest.raises(MissingArtifact, match=f"{split}: missing") as caught:
        images.load(reader(folder), split, 2, 0)
    assert str(folder) in str(caught.value)


def test_splits_of_other_classes_are_refused_though_their_number_agrees(folder: Path) -> None:
    (folder / "validation" / "bee").rename(folder / "validation" / "bat")
    with pytest.raises(InvalidInput, match="classes of validation") as caught:
        images.load(reader(folder), "validation", 12, 0)
    assert "bat" in str(caught.value)
    assert "bee" in str(caught.value)


def test_more_images_than_there_are_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"images of train\n  seen: 12\n  expected: at least 13") as caught:
        images.load(reader(folder), "train", 13, 0)
    assert str(folder) in str(caught.value)


def test_a_root_that_is_not_set_or_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"data\.root"):
        images.load(ReaderData(kind="reader", reader="", root=""), "train", 1, 0)
    with pytest.raises(MissingArtifact, match="nowhere"):
        images.load(reader(tmp_path / "nowhere"), "train", 1, 0)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "ant").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="seen: none; 0 other files") as caught:
        images.load(reader(tmp_path), "train", 1, 0)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", ["foldr", "hfds/imagenet", "tfds/mnist", "torch/cifar10", "wds/x"])
def test_an_unknown_reader_is_refused_before_it_reads_anything(folder: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"data\.reader") as caught:
        images.load(reader(folder, reader=name), "train", 1, 0)
    assert name in str(caught.value)


def only(folder: Path, name: str, save: Callable[[Path], object]) -> images.Images:
    """The validation split with one image, of the class of the given file."""
    for split in ("train", "validation"):
        for path in (folder / split).rglob("*.png"):
            path.unlink()
        for other in CLASSES[1:]:
            (folder / split / other).rmdir()
        save(folder / split / "ant" / name)
    return images.load(reader(folder), "validation", 1, 0)


def test_grey_images_become_colour(folder: Path) -> None:
    grey = noise(1)[..., 0]
    pixels = everything(only(folder, "x.png", Image.fromarray(grey).save))
    np.testing.assert_array_equal(pixels[0], np.repeat(grey[..., None], 3, 2))


def test_a_cmyk_jpeg_becomes_colour(folder: Path) -> None:
    flat = Image.new("RGB", (16, 16), (200, 80, 30)).convert("CMYK")
    pixels = everything(only(folder, "x.jpg", lambda path: flat.save(path, quality=100)))
    assert pixels.shape == (1, 16, 16, 3)
    assert np.abs(pixels[0].astype(int) - [200, 80, 30]).max() <= 4


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_a_photograph_is_turned_upright(folder: Path, orientation: int, turn: int) -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8, :8], picture[:8, 8:], picture[8:, :8] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(picture)
    pixels = everything(only(folder, "x.jpg", lambda path: stored.save(path, quality=100, subsampling=0, exif=exif)))
    assert np.abs(pixels[0].astype(int) - np.rot90(picture, turn)).max() < 40


def test_images_are_resized_by_the_shorter_side_and_cropped_at_the_centre(folder: Path) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    pixels = everything(only(folder, "x.png", Image.fromarray(wide).save))
    # 60 x 20 becomes 48 x 16, of which the middle 16 x 16 are white to the edge, where bicubic mixes.
    assert pixels.shape == (1, 16, 16, 3)
    assert (pixels[0, :, 2:-2] == 255).all()


def test_sixteen_bits_a_channel_are_refused_and_never_clipped(folder: Path) -> None:
    deep = Image.fromarray((np.arange(256).reshape(16, 16) * 256).astype(np.uint16))
    with pytest.raises(InvalidInput, match=r"x\.png: image\n  seen: mode I;16"):
        everything(only(folder, "x.png", deep.save))


@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused_by_its_path_and_no_other_image_stands_in(folder: Path, ending: str, share: float) -> None:
    path = folder / "validation" / "bee" / f"cut.{ending}"
    Image.fromarray(noise(5, (64, 64))).save(path)
    content = path.read_bytes()
    source = images.load(reader(folder), "validation", 13, 0)
    assert everything(source).shape == (13, 16, 16, 3)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InvalidInput, match="whole image file") as caught:
        everything(source)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_image_is_refused_by_its_path(folder: Path) -> None:
    path = folder / "validation" / "cow" / "2.png"
    path.write_text("no picture")
    with pytest.raises(InvalidInput, match="whole image file") as caught:
        everything(images.load(reader(folder), "validation", 12, 0))
    assert str(path) in str(caught.value)


def test_a_file_that_has_gone_is_refused_by_its_path(folder: Path) -> None:
    source = images.load(reader(folder), "validation", 12, 0)
    path = folder / "validation" / "cow" / "2.png"
    path.unlink()
    with pytest.raises(InvalidInput, match="whole image file") as caught:
        everything(source)
    assert str(path) in str(caught.value)


def test_an_image_too_large_to_be_one_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = images.load(reader(folder), "validation", 12, 0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InvalidInput, match="decompression bomb"):
        everything(source)


def test_broken_images_are_not_filled_with_grey(folder: Path) -> None:
    everything(images.load(reader(folder), "validation", 2, 0))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
