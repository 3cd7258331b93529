"""Targets of a generator: the vectors that scenes are composed from, or the pixels of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as transform

from harness.data import images, latents, mirrors, sprites
from harness.data.images import Images
from harness.params.images import ReaderData, ScenesData

# Background and noise of a drawn scene are those of its number in this split, as of no image that a model has seen.
SPLIT = "samples"
# The one value of a photograph: the mean of its right half minus that of its left half, over the largest grey level.
BALANCE = "balance"


class Targets(Protocol):
    """Vectors (n, d) of images (n, s, s, 3). factors: names of the values that each vector has."""

    factors: tuple[str, ...]

    def shares(self, size: int) -> NDArray[np.float32]:
        """(size,): what share of the loss each entry of a vector of that size has."""

    def images(self, split: str, count: int) -> Images:
        """The first images of a split, as large as they are drawn."""

    def vectors(self, split: str, index: NDArray[np.int64]) -> NDArray[np.generic]:
        """(n, d) of the images of a split with these numbers."""

    def decode(self, vectors: NDArray[np.floating]) -> NDArray[np.uint8]:
        """(n, s, s, 3) images of drawn vectors."""

    def values(self, vectors: NDArray[np.generic]) -> NDArray[np.float32]:
        """(n, factor) values of vectors."""

    def candidates(self, count: int) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
        """Names, and (candidate, count, s, s, 3), of the first validation images and of their mirror images."""

    def enlarged(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Images as large as the networks see them."""


def targets_of(data: ScenesData | ReaderData, side: int | None, seed: int) -> Targets:
    """The targets of a profile's images.

    side: of photographs, in pixels; none for scenes. seed: of the order of the images.
    """
    if isinstance(data, ScenesData):
        return SceneTargets(data, seed)
    # Params has refused photographs without a side.
    assert side is not None
    return PhotographTargets(data, side, seed)


class SceneTargets:
    """Scenes of one object, drawn as `harness.data.latents` has them."""

    factors = latents.FACTORS

    def __init__(self, data: ScenesData, seed: int) -> None:
        self.data, self.seed = data, seed
        root = Path(data.root) if data.root else None
        self.sprites = {split: sprites.load(data.sprites, split, root) for split in ("train", "validation")}

    def shares(self, size: int) -> NDArray[np.float32]:
        """One half for the opacities, and one for the factors."""
        return latents.shares(size)

    def images(self, split: str, count: int) -> Images:
        """The scenes."""
        return images.load(self.data, split, count, self.seed)

    def vectors(self, split: str, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Opacities and factors."""
        return latents.encode(self.sprites[split], self.data.world, split, index)

    def decode(self, vectors: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Scenes that are composed from the vectors."""
        side = self.sprites["validation"].alpha.shape[1]
        return latents.decode(vectors, side, self.data.world, SPLIT, np.arange(len(vectors)))

    def values(self, vectors: NDArray[np.generic]) -> NDArray[np.float32]:
        """Of all factors, in units of half their range."""
        return np.asarray(vectors[:, -len(latents.FACTORS) :], np.float32)

    def candidates(self, count: int) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
        """Place and object mirrored, together and alone."""
        return mirrors.CANDIDATES, mirrors.candidates(self.data, count, self.seed)

    def enlarged(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The scenes as they are."""
        return pixels


class PhotographTargets:
    """Photographs of `side` pixels, which show as much of the file as the networks see. Their vectors are grey levels."""

    factors = (BALANCE,)

    def __init__(self, data: ReaderData, side: int, seed: int) -> None:
        self.data, self.side, self.seed = data, side, seed
        # No file is enlarged: the shorter side is at least the crop's.
        self.small = data.model_copy(update={"size": side, "resize": max(side, round(data.resize * side / data.size))})

    def shares(self, size: int) -> NDArray[np.float32]:
        """Equal ones."""
        return np.full(size, 1 / size, np.float32)

    def images(self, split: str, count: int) -> Images:
        """Files, in the order in which the networks see them."""
        return images.load(self.small, split, count, self.seed)

    def vectors(self, split: str, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Grey levels of all pixels and colours."""
        return self.images(split, int(index.max()) + 1).read(index).reshape(len(index), -1)

    def decode(self, vectors: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Pixels, rounded to what a grey level can be."""
        return np.rint(vectors).clip(0, 255).astype(np.uint8).reshape(len(vectors), self.side, self.side, 3)

    def values(self, vectors: NDArray[np.generic]) -> NDArray[np.float32]:
        """The balance, which a mirror image has with the other sign."""
        pixels = np.asarray(vectors, np.float32).reshape(len(vectors), self.side, self.side, 3)
        half = self.side // 2
        return ((pixels[:, :, -half:].mean((1, 2, 3)) - pixels[:, :, :half].mean((1, 2, 3))) / 255)[:, None]

    def candidates(self, count: int) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
        """The photographs, and their mirror images."""
        source = self.images("validation", count).read(np.arange(count))
        return mirrors.CANDIDATES[:2], np.stack([source, source[:, :, ::-1]])

    def enlarged(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Photographs of the networks' size, interpolated."""
        planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        size = self.data.size
        return transform.resize(planes, [size, size], antialias=True).numpy().transpose(0, 2, 3, 1)
