"""Images of a profile by number, whatever their source: composed scenes, or files behind a timm reader."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.params import ReaderData, ScenesData
from harness.data import draws, scenes, sprites


@dataclass(frozen=True)
class Images:
    """n labelled images. label: (n,) int64. read: indices (b,) to pixels (b, s, s, 3) uint8."""

    label: NDArray[np.int64]
    classes: int
    read: Callable[[NDArray[np.integer]], NDArray[np.uint8]]

    def __len__(self) -> int:
        return len(self.label)

    def part(self, start: int, stop: int) -> Images:
        """Images start to stop, numbered from 0."""
        return Images(self.label[start:stop], self.classes, lambda index: self.read(np.asarray(index) + start))

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """All images in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))


def load(data: ScenesData | ReaderData, split: str, count: int, seed: int) -> Images:
    """The first `count` images of a split ("train" or "validation") in an order drawn from the seed.

    Scenes are composed when they are read, so any count is there. Raises InvalidInput when a reader has fewer images, and
    MissingArtifact when its folder is not set or not there.
    """
    return _scenes(data, split, count) if isinstance(data, ScenesData) else _reader(data, split, count, seed)


def hashes(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """A 64-bit hash of each image's pixels: (b, s, s, 3) to (b,)."""
    parts = [hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=8).digest() for image in pixels]
    return np.frombuffer(b"".join(parts), "<i8").astype(np.int64)


def _scenes(data: ScenesData, split: str, count: int) -> Images:
    source = sprites.load(data.sprites, split, Path(data.root) if data.root else None)

    def read(index: NDArray[np.integer]) -> NDArray[np.uint8]:
        return scenes.compose(source, data.world, split, index).image

    label = source.label[scenes.sprites_of(source, data.world, split, np.arange(count))]
    return Images(label, source.classes, read)


def _reader(data: ReaderData, split: str, count: int, seed: int) -> Images:
    if not data.root or not Path(data.root).is_dir():
        raise MissingArtifact(
            data.root or "data.root",
            "the profile's images are not there",
            next_step="set profiles.<profile>.data.root in params.yaml to the folder with the train and validation splits",
        )
    from timm.data import create_dataset

    name = data.train_split if split == "train" else data.validation_split
    dataset: Any = create_dataset(data.reader, root=data.root, split=name)
    total = len(dataset)
    if count > total:
        raise InvalidInput(data.root, field=f"images of {name}", seen=total, expected=f"at least {count}")
    order = draws.permutation(seed, f"images/{split}", total)[:count]
    paths = [dataset.reader.samples[i] for i in order]

    def read(index: NDArray[np.integer]) -> NDArray[np.uint8]:
        return np.stack([_decode(dataset, int(order[i]), data) for i in index])

    label = np.array([target for _, target in paths], np.int64)
    return Images(label, int(label.max()) + 1, read)


def _decode(dataset: Any, index: int, data: ReaderData) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError
    from torchvision.transforms import v2

    try:
        image = dataset[index][0].convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise InvalidInput(dataset.filename(index), field="image", seen=error, expected="a whole image file") from error
    crop = v2.Compose([v2.Resize(data.resize, interpolation=v2.InterpolationMode.BICUBIC), v2.CenterCrop(data.size)])
    result: Image.Image = crop(image)
    return np.asarray(result)
