"""Images with one thing changed: mirrored, or of composed scenes with another value of one factor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput
from harness.data import draws, images, scenes, sprites
from harness.data.images import Images
from harness.data.sprites import Sprites
from harness.params.images import ReaderData, SceneParams, ScenesData

# Changes of any images, and those of composed scenes with one object, in the order in which they are shown.
MIRRORED = "flip"
OF_SCENES = ("orientation", "x", "place", "scale", "tilt", "brightness", "sprite", "class")


def changes_of(data: ScenesData | ReaderData) -> tuple[str, ...]:
    """The changes that the images of a profile can have."""
    single = isinstance(data, ScenesData) and data.world.objects == (1, 1)
    return (MIRRORED, *OF_SCENES) if single else (MIRRORED,)


def changed(data: ScenesData | ReaderData, split: str, count: int, seed: int, change: str) -> Images:
    """The images that `images.load` gives, each with one thing changed.

    flip: the mirror image. Of scenes: orientation, the object mirrored where it is; x, another horizontal place; place, another
    place; scale, tilt, brightness, another value of it; sprite, another object of its class; class, an object of another class.
    Other values are drawn from the world's own distribution.
    Raises InvalidInput for a change that these images cannot have, and as `images.load` does.
    """
    if change not in changes_of(data):
        raise InvalidInput("images", field="change", seen=change, expected=" or ".join(changes_of(data)))
    known = images.load(data, split, count, seed)
    if change == MIRRORED:
        return Images(known.label, known.classes, lambda index: np.ascontiguousarray(known.read(index)[:, :, ::-1]))
    assert isinstance(data, ScenesData)
    source = sprites.load(data.sprites, split, Path(data.root) if data.root else None)
    world = data.world

    def read(index: NDArray[np.integer]) -> NDArray[np.uint8]:
        own = np.asarray(index, np.int64)
        return scenes.compose(source, world, split, own, given(source, world, split, own, change)).image

    rows = sprites_after(source, world, split, np.arange(count), change)
    return Images(source.label[rows], source.classes, read)


def sprites_after(source: Sprites, world: SceneParams, split: str, index: NDArray[np.int64], change: str) -> NDArray[np.int64]:
    """The row in `source` of each scene's object once it is changed."""
    rows = scenes.sprites_of(source, world, split, index)
    if change not in ("sprite", "class"):
        return rows
    # The k-th of those that may stand in its place, k drawn.
    share = draws.uniform(world.seed, f"{split}/0/sprite/other", index, 0, 1)
    out = np.empty_like(rows)
    for i, row in enumerate(rows):
        alike = source.label == source.label[row]
        if change == "sprite":
            alike[row] = False
        may = np.flatnonzero(alike if change == "sprite" else ~alike)
        out[i] = may[int(share[i] * len(may))]
    return out


def given(source: Sprites, world: SceneParams, split: str, index: NDArray[np.int64], change: str) -> dict[str, NDArray[Any]]:
    """The streams of `scenes.compose` that are other than drawn."""

    def another(stream: str, low: float, high: float) -> NDArray[np.float64]:
        return draws.uniform(world.seed, f"{split}/0/{stream}/other", index, low, high)

    if change == "orientation":
        return {"0/flip": 1 - draws.integers(world.seed, f"{split}/0/flip", index, 2)}
    if change in ("x", "place"):
        return {f"0/{axis}": another(axis, -1, 1) for axis in (("x",) if change == "x" else ("x", "y"))}
    if change == "brightness":
        return {"0/contrast": another("contrast", *world.contrast)}
    if change == "tilt":
        return {"0/tilt": another("tilt", -world.tilt, world.tilt)}
    if change == "scale":
        scale, other = draws.uniform(world.seed, f"{split}/0/scale", index, *world.scale), another("scale", *world.scale)
        # The centre moves within the room that the object leaves, which is another: the object stays where it is.
        room = np.maximum(1.0 - scale, 0.1) / np.maximum(1.0 - other, 0.1)
        place = {f"0/{axis}": room * draws.uniform(world.seed, f"{split}/0/{axis}", index, -1, 1) for axis in ("x", "y")}
        return {"0/scale": other} | place
    return {"0/sprite": sprites_after(source, world, split, index, change)}
