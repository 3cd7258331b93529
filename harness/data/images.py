"""Images of a profile by number, whatever their source: composed scenes, or image files in folders."""

from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.data import draws, folder, scenes, sprites
from harness.params.images import ReaderData, ScenesData

# What a reader may be called: both mean a folder per split and in it one per class.
READERS = ("", "folder")
# Usual names of a split's folder: where data.train_split is one of these, the others are looked for after it.
NAMES = {"train": ("train", "training"), "validation": ("validation", "val", "valid", "eval", "evaluation")}
# What Pillow turns into RGB without clipping: 16-bit and floating-point images are not among them.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


@dataclass(frozen=True)
class Images:
    """n labelled images. label: (n,) int64. read: indices (b,) to pixels (b, s, s, 3) uint8."""

    label: NDArray[np.int64]
    classes: int
    read: Callable[[NDArray[np.integer]], NDArray[np.uint8]]

    def __len__(self) -> int:
        return len(self.label)

    def part(self, start: int, stop: int) -> Images:
        """Images start to stop, numbered from 0. Raises InvalidInput when there are not that many."""
        if not 0 <= start <= stop <= len(self):
            raise InvalidInput("images", field="part", seen=f"{start} to {stop}", expected=f"within 0 to {len(self)}")
        return Images(self.label[start:stop], self.classes, lambda index: self.read(np.asarray(index) + start))

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """All images in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))


def load(data: ScenesData | ReaderData, split: str, count: int, seed: int) -> Images:
    """The first `count` images of a split ("train" or "validation") in an order drawn from the seed.

    Scenes are composed when they are read, so any count is there. Files are decoded when they are read: turned as their EXIF
    orientation says, converted to RGB, or refused with InvalidInput.
    Raises InvalidInput for an unknown split or reader, a reader with fewer images and splits of different classes, and
    MissingArtifact when the folder is not set or not there.
    """
    if split not in ("train", "validation"):
        raise InvalidInput("images", field="split", seen=split, expected="train or validation")
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
    found = folder.read(_split_folder(data, split), split)
    # Labels are numbers of a folder's classes: those of two splits agree only if their folders do.
    if split == "validation" and found.classes != (other := folder.classes_of(_split_folder(data, "train"))):
        lacking = sorted(set(found.classes) ^ set(other))
        seen = f"{len(found.classes)} classes, in one split only {lacking[:5]}"
        raise InvalidInput(found.root, field=f"classes of {split}", seen=seen, expected=f"the {len(other)} of train")
    if found.left_out:
        print(found.report(), file=sys.stderr)
    total = len(found.samples)
    if count > total:
        raise InvalidInput(found.root, field=f"images of {split}", seen=total, expected=f"at least {count}")
    chosen = [found.samples[i] for i in draws.permutation(seed, f"images/{split}", total)[:count]]

    def read(index: NDArray[np.integer]) -> NDArray[np.uint8]:
        # Pillow decodes outside the interpreter lock.
        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(lambda i: _decode(Path(chosen[i][0]), data), index)))

    return Images(np.array([label for _, label in chosen], np.int64), len(found.classes), read)


def _split_folder(data: ReaderData, split: str) -> Path:
    """The folder of a split, by its name in params.yaml or by another usual name of the same split."""
    if not data.root or not Path(data.root).is_dir():
        raise MissingArtifact(
            data.root or "data.root",
            "the profile's images are not there",
            next_step="set profiles.<profile>.data.root in params.yaml to the folder with the train and validation splits",
        )
    if data.reader not in READERS:
        expected = f"{' or '.join(map(repr, READERS))}: a folder per split, in it one per class"
        raise InvalidInput("params.yaml", field="data.reader", seen=data.reader, expected=expected)
    name = data.train_split if split == "train" else data.validation_split
    names = (name, *(other for other in NAMES[split] if name in NAMES[split] and other != name))
    for candidate in names:
        if (Path(data.root) / candidate).is_dir():
            return Path(data.root) / candidate
    raise MissingArtifact(
        Path(data.root) / name, f"the {split} split is not there", next_step=f"set data.{split}_split to its folder's name"
    )


def _decode(path: Path, data: ReaderData) -> NDArray[np.uint8]:
    """Pixels of a file, (size, size, 3): upright, in colour, the shorter side resized, the centre cropped."""
    from PIL import Image, ImageOps
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transform

    try:
        with Image.open(path) as file:
            mode = file.mode
            image = ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise InvalidInput(path, field="image", seen=error, expected="a whole image file") from error
    if mode not in MODES:
        raise InvalidInput(path, field="image", seen=f"mode {mode}", expected=f"8 bits a channel: {', '.join(MODES)}")
    resized = transform.resize(image, [data.resize], interpolation=InterpolationMode.BICUBIC)
    return np.asarray(transform.center_crop(resized, [data.size]))
