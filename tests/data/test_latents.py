"""Scenes as vectors: there and back again to the pixel, and what each entry changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.artifacts.errors import InvalidInput
from harness.data import latents, scenes, sprites
from harness.params.load import load_params

WORLD = load_params(Path("params.yaml")).of("embedded").data.world
SOURCE = sprites.load("digits", "validation")
INDEX = np.arange(40)


@pytest.mark.parametrize("changes", [{}, {"background": (60.0, 120.0), "tint": 10.0, "tilt": 0.0}, {"scale": (0.5, 0.5)}])
def test_a_scene_comes_back_to_the_pixel(changes: dict[str, object]) -> None:
    world = WORLD.model_copy(update=changes)
    vectors = latents.encode(SOURCE, world, "validation", INDEX)
    again = latents.decode(vectors, 8, world, "validation", INDEX)
    assert (again == scenes.compose(SOURCE, world, "validation", INDEX).image).all()
    assert np.abs(vectors).max() <= 1


def test_another_sign_of_the_flip_is_the_object_mirrored_where_it_is() -> None:
    vectors = latents.encode(SOURCE, WORLD, "validation", INDEX)
    vectors[:, 64] *= -1
    other = scenes.compose(SOURCE, WORLD, "validation", INDEX)
    flip = {"0/flip": 1 - other.flipped[:, 0].astype(np.int64)}
    expected = scenes.compose(SOURCE, WORLD, "validation", INDEX, flip).image
    assert (latents.decode(vectors, 8, WORLD, "validation", INDEX) == expected).all()


def test_values_beyond_the_worlds_ranges_are_taken_at_their_ends() -> None:
    vectors = latents.encode(SOURCE, WORLD, "validation", INDEX)
    ends = np.where(vectors > 0, 1.0, -1.0)
    assert (
        latents.decode(3 * ends, 8, WORLD, "validation", INDEX) == latents.decode(ends, 8, WORLD, "validation", INDEX)
    ).all()


def test_scenes_of_several_objects_and_another_width_are_refused() -> None:
    several = WORLD.model_copy(update={"objects": (1, 4)})
    with pytest.raises(InvalidInput, match="one object"):
        latents.encode(SOURCE, several, "validation", INDEX)
    with pytest.raises(InvalidInput, match="one object"):
        latents.decode(np.zeros((40, 70)), 8, several, "validation", INDEX)
    with pytest.raises(InvalidInput, match="64 opacities and 6 factors"):
        latents.decode(np.zeros((40, 71)), 8, WORLD, "validation", INDEX)


def test_opacities_and_factors_have_one_half_of_a_loss_each() -> None:
    found = latents.shares(64 + len(latents.FACTORS))
    assert found[: -len(latents.FACTORS)].sum() == pytest.approx(0.5)
    assert found[-len(latents.FACTORS) :].sum() == pytest.approx(0.5)
    assert len(set(found.tolist())) == 2
