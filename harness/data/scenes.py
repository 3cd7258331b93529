"""The embedded world: sprites composed onto varied backgrounds, with every factor of variation recorded.

A scene holds one object (classification) or several at several scales (detection). Each factor is drawn from its own
stream, independent of the class, so that neither colour, background, size, place nor orientation tells the class.
Only integer arithmetic and exactly rounded elementwise float64 operations are used: images are bit-identical everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput
from harness.data import draws
from harness.data.sprites import Sprites
from harness.params.images import SceneParams

BACKGROUNDS = ("plain", "gradient", "checker")


@dataclass(frozen=True)
class Scenes:
    """n scenes of up to k objects on an s x s canvas.

    image: (n, s, s, 3) uint8. owner: (n, s, s) int8, the slot of the object that shows at a pixel, -1 for background.
    present: (n, k) bool. label, sprite: (n, k) int64. flipped: (n, k) bool. scale: (n, k) in canvas sides.
    centre: (n, k, 2) as (x, y) in pixels. tilt: (n, k), tangent of half the rotation angle. colour: (n, k, 3) and
    background: (n, 2, 3), RGB in [0, 255]. pattern: (n,) index into BACKGROUNDS. negative: (n,) bool.
    """

    image: NDArray[np.uint8]
    owner: NDArray[np.int8]
    present: NDArray[np.bool_]
    label: NDArray[np.int64]
    sprite: NDArray[np.int64]
    flipped: NDArray[np.bool_]
    scale: NDArray[np.float64]
    centre: NDArray[np.float64]
    tilt: NDArray[np.float64]
    colour: NDArray[np.float64]
    background: NDArray[np.float64]
    pattern: NDArray[np.int64]
    negative: NDArray[np.bool_]

    def coco(self) -> dict[str, Any]:
        """COCO instances: boxes as (x, y, width, height), masks as uncompressed column-major run lengths.

        An object hidden by later ones has no visible pixel and gets no annotation.
        """
        annotations = []
        n, s = self.owner.shape[:2]
        for i in range(n):
            for j in np.flatnonzero(self.present[i]):
                mask = self.owner[i] == j
                if not mask.any():
                    continue
                ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                box = [int(xs[0]), int(ys[0]), int(xs[-1] - xs[0] + 1), int(ys[-1] - ys[0] + 1)]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": i + 1,
                        "category_id": int(self.label[i, j]) + 1,
                        "bbox": box,
                        "area": int(mask.sum()),
                        "iscrowd": 0,
                        "segmentation": {"size": [s, s], "counts": _run_lengths(mask)},
                    }
                )
        return {
            "images": [{"id": i + 1, "width": s, "height": s, "file_name": f"{i}"} for i in range(n)],
            "categories": [{"id": int(c) + 1, "name": str(c)} for c in np.unique(self.label[self.present])],
            "annotations": annotations,
        }


def compose(
    sprites: Sprites,
    params: SceneParams,
    split: str,
    index: NDArray[np.integer],
    given: Mapping[str, NDArray[Any]] | None = None,
) -> Scenes:
    """Render the scenes with the given indices of a split; scene i is the same whatever else is rendered.

    given: by the name of a stream, such as 0/x, what the scenes have in the place of what they would draw, (n,).
    Raises InvalidInput when the objects' range is empty, the scale range leaves no room, or grey levels leave [0, 255].
    """
    low, high = params.objects
    if not 1 <= low <= high:
        raise InvalidInput("scenes", field="objects", seen=params.objects, expected="1 <= least <= most")
    if not 0 < params.scale[0] <= params.scale[1] <= 1.5:
        raise InvalidInput("scenes", field="scale", seen=params.scale, expected="0 < least <= most <= 1.5")
    (darkest, brightest), (least, most) = params.background, params.contrast
    if not (0 <= darkest <= brightest and 0 < least <= most and brightest + most <= 255):
        seen = f"background {params.background}, contrast {params.contrast}"
        expected = "0 <= least <= most for each, and the brightest background plus the most contrast at most 255"
        raise InvalidInput("scenes", field="grey levels", seen=seen, expected=expected)
    index = np.asarray(index, np.int64)
    n, s = len(index), params.size
    draw = _Draw(params.seed, split, given or {})

    negative = (draw.integers("negative", index, 2) == 1) & params.negatives
    background, grey = _background_colours(draw, index, params)
    background = _developed(background, negative)
    pattern = draw.integers("pattern", index, len(BACKGROUNDS))
    canvas = _paint_background(draw, index, background, pattern, s)

    count = low + draw.integers("objects", index, high - low + 1)
    owner = np.full((n, s, s), -1, np.int8)
    slots: list[dict[str, NDArray[Any]]] = []
    for j in range(high):
        slot = _object(draw, index, j, sprites, params, grey)
        slot["colour"] = _developed(slot["colour"], negative)
        slots.append(slot)
        alpha = _opacity(sprites.alpha, slot, params, s) * (count > j)[:, None, None]
        canvas += alpha[..., None] * (slot["colour"][:, None, None, :] - canvas)
        owner = np.where(alpha > 0.5, np.int8(j), owner)

    if params.noise:
        pixels = index[:, None] * np.int64(s * s * 3) + np.arange(s * s * 3)
        canvas += (draw.integers("noise", pixels, 2 * params.noise + 1) - params.noise).reshape(n, s, s, 3)
    stack = {name: np.stack([slot[name] for slot in slots], 1) for name in slots[0] if name != "row"}
    return Scenes(
        # Rounding may leave [0, 255] by the noise's amplitude: pixel values saturate as in a camera.
        image=np.floor(np.minimum(np.maximum(canvas, 0), 255) + 0.5).astype(np.uint8),
        owner=owner,
        present=np.arange(high) < count[:, None],
        background=background,
        pattern=pattern,
        negative=negative,
        **stack,
    )


def sprites_of(sprites: Sprites, params: SceneParams, split: str, index: NDArray[np.integer]) -> NDArray[np.int64]:
    """The row in `sprites` of each scene's first object, without rendering anything."""
    return _Draw(params.seed, split).integers("0/sprite", np.asarray(index, np.int64), len(sprites.label))


@dataclass(frozen=True)
class _Draw:
    seed: int
    split: str
    given: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def uniform(self, stream: str, index: NDArray[np.int64], low: float, high: float) -> NDArray[np.float64]:
        if stream in self.given:
            return self.given[stream]
        return draws.uniform(self.seed, f"{self.split}/{stream}", index, low, high)

    def integers(self, stream: str, index: NDArray[np.int64], high: int) -> NDArray[np.int64]:
        if stream in self.given:
            return self.given[stream]
        return draws.integers(self.seed, f"{self.split}/{stream}", index, high)


def _object(
    draw: _Draw, index: NDArray[np.int64], j: int, sprites: Sprites, params: SceneParams, grey: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    s = params.size
    sprite = draw.integers(f"{j}/sprite", index, len(sprites.label))
    scale = draw.uniform(f"{j}/scale", index, *params.scale)
    # The centre moves by up to `jitter` of the room that the object leaves on the canvas.
    room = np.maximum(1.0 - scale, 0.1) * s * params.jitter / 2
    x = s / 2 + room * draw.uniform(f"{j}/x", index, -1, 1)
    y = s / 2 + room * draw.uniform(f"{j}/y", index, -1, 1)
    if params.objects[1] > 1:
        x = s * draw.uniform(f"{j}/x", index, 0.15, 0.85)
        y = s * draw.uniform(f"{j}/y", index, 0.15, 0.85)
    base = grey + draw.uniform(f"{j}/contrast", index, *params.contrast)
    tint = np.stack([draw.uniform(f"{j}/tint{c}", index, -params.tint, params.tint) for c in range(3)], 1)
    return {
        "label": sprites.label[sprite],
        "sprite": sprites.source[sprite],
        "row": sprite,
        "flipped": (draw.integers(f"{j}/flip", index, 2) == 1) & params.flip,
        "scale": scale,
        "centre": np.stack([x, y], 1),
        "tilt": draw.uniform(f"{j}/tilt", index, -params.tilt, params.tilt),
        "colour": np.minimum(np.maximum(base[:, None] + tint, 0), 255),
    }


def _background_colours(
    draw: _Draw, index: NDArray[np.int64], params: SceneParams
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The background's two colours, (n, 2, 3), and their mean grey level, (n,)."""
    both, greys = [], []
    for k in range(2):
        grey = draw.uniform(f"background{k}", index, *params.background)
        tint = [draw.uniform(f"background{k}/tint{c}", index, -0.75 * params.tint, 0.75 * params.tint) for c in range(3)]
        both.append(np.minimum(np.maximum(grey[:, None] + np.stack(tint, 1), 0), 255))
        greys.append(grey)
    return np.stack(both, 1), (greys[0] + greys[1]) / 2


def _developed(colour: NDArray[np.float64], negative: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Colours, (n, ...), of the scenes that are photographic negatives turned into their complements."""
    return np.where(negative.reshape(-1, *[1] * (colour.ndim - 1)), 255 - colour, colour)


def _paint_background(
    draw: _Draw, index: NDArray[np.int64], colours: NDArray[np.float64], pattern: NDArray[np.int64], s: int
) -> NDArray[np.float64]:
    dx, dy = draw.uniform("gradient/x", index, -1, 1), draw.uniform("gradient/y", index, -1, 1)
    period = 2 + draw.integers("checker", index, 4)
    x, y = np.meshgrid(np.arange(s), np.arange(s))
    norm = np.abs(dx) + np.abs(dy) + 1e-3
    u, v = (x + 0.5) / s - 0.5, (y + 0.5) / s - 0.5
    gradient = 0.5 + (u * dx[:, None, None] + v * dy[:, None, None]) / norm[:, None, None]
    cells = (x // period[:, None, None] + y // period[:, None, None]) % 2
    weight = np.where((pattern == 1)[:, None, None], gradient, np.where((pattern == 2)[:, None, None], cells, 0.0))
    first, second = colours[:, 0, None, None, :], colours[:, 1, None, None, :]
    return first + weight[..., None] * (second - first)


def _opacity(alpha: NDArray[np.uint8], slot: dict[str, NDArray[Any]], params: SceneParams, s: int) -> NDArray[np.float64]:
    """(n, s, s) opacity in [0, 1] of the slot's sprite, sampled bilinearly under scale, rotation, flip and place."""
    side = alpha.shape[1]
    t = slot["tilt"]
    # cos and sin from the half-angle's tangent: exact arithmetic where libm's differ in the last bit.
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    step = side / (slot["scale"] * s)
    y, x = np.meshgrid(np.arange(s) + 0.5, np.arange(s) + 0.5, indexing="ij")
    dx, dy = x - slot["centre"][:, 0, None, None], y - slot["centre"][:, 1, None, None]
    shape = (-1, 1, 1)
    u = (cos.reshape(shape) * dx + sin.reshape(shape) * dy) * step.reshape(shape)
    v = (cos.reshape(shape) * dy - sin.reshape(shape) * dx) * step.reshape(shape)
    u = np.where(slot["flipped"].reshape(shape), -u, u) + side / 2 - 0.5
    v = v + side / 2 - 0.5
    # One transparent pixel around the sprite: what lies outside is background.
    padded = np.pad(alpha, ((0, 0), (1, 1), (1, 1))).astype(np.float64) / 255
    u, v = np.minimum(np.maximum(u + 1, 0), side + 0.999), np.minimum(np.maximum(v + 1, 0), side + 0.999)
    u0, v0 = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    fu, fv = u - u0, v - v0
    row = slot["row"].reshape(shape)
    top = padded[row, v0, u0] * (1 - fu) + padded[row, v0, u0 + 1] * fu
    bottom = padded[row, v0 + 1, u0] * (1 - fu) + padded[row, v0 + 1, u0 + 1] * fu
    return top * (1 - fv) + bottom * fv


def _run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed run lengths: column-major, starting with the zeros."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat != np.concatenate([[False], flat[:-1]]))
    return np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
