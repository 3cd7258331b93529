"""A scene of one object as a vector: what of it is drawn by itself, from which the scene is composed again exactly.

The vector has the sprite's opacities before it is mirrored, which way it faces, its scale, place, tilt and contrast, each about
in [-1, 1]. Background, tint and the pixels' noise are no part of it: they are drawn by the scene's number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput
from harness.data import draws, scenes
from harness.data.sprites import Sprites
from harness.params.images import SceneParams

# After the opacities.
FACTORS = ("flip", "scale", "x", "y", "tilt", "contrast")


def shares(size: int) -> NDArray[np.float32]:
    """(size,): what share of a loss each entry of a vector of that size has.

    The opacities have one half, and the factors the other. With equal entries a model of the vectors hardly learns the few
    factors: a generator's samples kept half of the place in x that a linear regression finds in the same features.
    """
    n = len(FACTORS)
    return np.repeat(np.array([0.5 / (size - n), 0.5 / n], np.float32), [size - n, n])


def encode(source: Sprites, world: SceneParams, split: str, index: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, opacities + factors) of the scenes of these numbers. Raises InvalidInput for scenes of several objects."""
    _refuse_several(world)

    def drawn(stream: str, low: float, high: float) -> NDArray[np.float64]:
        return draws.uniform(world.seed, f"{split}/0/{stream}", index, low, high)

    alpha = source.alpha[scenes.sprites_of(source, world, split, index)].reshape(len(index), -1) / 127.5 - 1
    faces = 2.0 * draws.integers(world.seed, f"{split}/0/flip", index, 2) - 1
    spread = {"scale": world.scale, "contrast": world.contrast}
    own = {name: _centred(drawn(name, *ends), ends) for name, ends in spread.items()}
    own |= {name: drawn(name, -1, 1) for name in ("x", "y")}
    own |= {"flip": faces, "tilt": _centred(drawn("tilt", -world.tilt, world.tilt), (-world.tilt, world.tilt))}
    return np.concatenate([alpha, np.stack([own[name] for name in FACTORS], 1)], 1).astype(np.float32)


def decode(
    latents: NDArray[np.floating], side: int, world: SceneParams, split: str, index: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """(n, s, s, 3) images of vectors (n, opacities + factors).

    side: of the sprites, in pixels. Values beyond the world's ranges are taken at their ends, as the world knows no others.
    split, index: by which background, tint and noise are drawn.
    """
    _refuse_several(world)
    n, pixels = len(latents), side * side
    if latents.shape[1] != pixels + len(FACTORS):
        expected = f"{pixels} opacities and {len(FACTORS)} factors"
        raise InvalidInput("latents", field="width", seen=latents.shape[1], expected=expected)
    alpha = np.rint((latents[:, :pixels].clip(-1, 1) + 1) * 127.5).astype(np.uint8).reshape(n, side, side)
    own = dict(zip(FACTORS, np.asarray(latents[:, pixels:], np.float64).clip(-1, 1).T, strict=True))
    given = {
        "0/sprite": np.arange(n),
        "0/flip": (own["flip"] > 0).astype(np.int64),
        "0/scale": _within(own["scale"], world.scale),
        "0/x": own["x"],
        "0/y": own["y"],
        "0/tilt": _within(own["tilt"], (-world.tilt, world.tilt)),
        "0/contrast": _within(own["contrast"], world.contrast),
    }
    drawn = Sprites(alpha, np.zeros(n, np.int64), np.arange(n), 1)
    return scenes.compose(drawn, world, split, index, given).image


def _centred(values: NDArray[np.float64], ends: tuple[float, float]) -> NDArray[np.float64]:
    """Values within two ends to [-1, 1]; to 0 where the ends are one."""
    half = (ends[1] - ends[0]) / 2
    return (values - (ends[0] + ends[1]) / 2) / (half or 1.0)


def _within(values: NDArray[np.float64], ends: tuple[float, float]) -> NDArray[np.float64]:
    return (ends[0] + ends[1]) / 2 + values * (ends[1] - ends[0]) / 2


def _refuse_several(world: SceneParams) -> None:
    if world.objects != (1, 1):
        raise InvalidInput("scenes", field="objects", seen=world.objects, expected="one object, (1, 1)")
