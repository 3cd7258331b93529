"""Changed images: one thing is other than in the image, and all else as it was."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.data import images, scenes, sprites
from harness.data.changes import OF_SCENES, changed, changes_of, given
from harness.data.scenes import Scenes
from harness.params.images import ReaderData, ScenesData
from harness.params.load import load_params

N = 64
# What differs between a scene and the changed one, besides its pixels.
MOVED = {
    "orientation": {"flipped"},
    "x": {"centre"},
    "place": {"centre"},
    "scale": {"scale"},
    "tilt": {"tilt"},
    "brightness": {"colour"},
    "sprite": {"sprite"},
    "class": {"sprite", "label"},
}


@pytest.fixture(scope="module")
def data() -> ScenesData:
    found = load_params(ROOT / "params.yaml").of("embedded").data
    assert isinstance(found, ScenesData)
    return found


def both(data: ScenesData, change: str) -> tuple[Scenes, Scenes]:
    source, index = sprites.load(data.sprites, "validation"), np.arange(N)
    before = scenes.compose(source, data.world, "validation", index)
    return before, scenes.compose(
        source, data.world, "validation", index, given(source, data.world, "validation", index, change)
    )


@pytest.mark.parametrize("change", OF_SCENES)
def test_one_factor_is_another_and_no_other(data: ScenesData, change: str) -> None:
    before, after = both(data, change)
    moved = {
        field.name
        for field in fields(Scenes)
        if field.name not in ("image", "owner") and not np.allclose(getattr(before, field.name), getattr(after, field.name))
    }
    assert moved == MOVED[change]
    # In every scene, and within the world's own range.
    for name in moved - {"label"}:
        assert (getattr(before, name) != getattr(after, name)).reshape(N, -1).any(1).mean() > 0.95
    low, high = data.world.scale
    assert ((after.scale >= low) & (after.scale <= high)).all()
    assert (abs(after.tilt) <= data.world.tilt).all()


def test_another_place_may_be_in_both_directions_and_x_in_one(data: ScenesData) -> None:
    for change, axes in (("x", [0]), ("place", [0, 1])):
        before, after = both(data, change)
        moved = (before.centre != after.centre).reshape(-1, 2).mean(0)
        assert [axis for axis in (0, 1) if moved[axis] > 0.95] == axes


def test_another_sprite_is_of_the_class_and_another_class_is_not(data: ScenesData) -> None:
    before, after = both(data, "sprite")
    assert (before.label == after.label).all()
    assert (before.sprite != after.sprite).all()
    before, after = both(data, "class")
    assert (before.label != after.label).all()
    # Any other class, not always the next.
    assert len(set(zip(before.label.ravel().tolist(), after.label.ravel().tolist(), strict=True))) > 30


def test_the_changed_images_are_read_as_composed(data: ScenesData) -> None:
    for change in OF_SCENES:
        found = changed(data, "validation", N, 0, change)
        after = both(data, change)[1]
        np.testing.assert_array_equal(found.read(np.array([3, 1])), after.image[[3, 1]])
        np.testing.assert_array_equal(found.label, after.label[:, 0])


def test_a_mirror_image_is_one_and_twice_it_is_the_image(data: ScenesData) -> None:
    known, found = images.load(data, "validation", N, 0), changed(data, "validation", N, 0, "flip")
    pixels = known.read(np.arange(N))
    np.testing.assert_array_equal(found.read(np.arange(N))[:, :, ::-1], pixels)
    assert (found.read(np.arange(N)) != pixels).any()
    np.testing.assert_array_equal(found.label, known.label)


def test_files_can_be_mirrored_and_no_more() -> None:
    reader = ReaderData(kind="reader", reader="", root="somewhere")
    assert changes_of(reader) == ("flip",)
    with pytest.raises(InvalidInput, match="flip"):
        changed(reader, "validation", 8, 0, "tilt")


def test_scenes_of_several_objects_can_only_be_mirrored(data: ScenesData) -> None:
    several = data.model_copy(update={"world": data.world.model_copy(update={"objects": (1, 4)})})
    assert changes_of(several) == ("flip",)
