"""Images with annotated objects, at any size: composed scenes, or a folder in the format of COCO 2017."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.provenance import digest
from harness.data import coco, scenes, sprites
from harness.data.coco import Annotations, Instances, encode
from harness.data.images import hashes
from harness.params.images import ScenesData
from harness.params.profile import CocoParams, SceneParams

# Around an image that is no square: ImageNet's mean colour, which is about 0 after normalisation.
PADDING = (124, 116, 104)


@dataclass(frozen=True, eq=False)
class AnnotatedImages:
    """Images, each as it is, and their objects. decode: an index to its pixels, (h, w, 3) uint8."""

    objects: Annotations
    decode: Callable[[int], NDArray[np.uint8]]

    def __len__(self) -> int:
        return len(self.objects)

    def scale(self, i: int, side: int) -> float:
        """By which an image is resized so that its longer side is `side`."""
        return side / float(max(self.objects.size[i]))

    def read(self, chosen: Sequence[int] | NDArray[np.integer], side: int) -> NDArray[np.uint8]:
        """(b, side, side, 3): images resized to fit, in the upper left corner; the rest is padding."""
        found = np.empty((len(chosen), side, side, 3), np.uint8)
        found[:] = PADDING
        for own, i in zip(found, chosen, strict=True):
            pixels = _resized(self.decode(int(i)), self.scale(int(i), side))
            own[: pixels.shape[0], : pixels.shape[1]] = pixels
        return found

    def instances(self, i: int, side: int) -> Instances:
        """An image's objects in the pixels of `read`."""
        return self.fitted(self.objects.instances[i], i, side)

    def fitted(self, found: Instances, i: int, side: int) -> Instances:
        """Objects or detections of an image in the pixels of `read`; their areas stay as they are."""
        if tuple(self.objects.size[i]) == (side, side):
            return found
        scale = self.scale(i, side)
        masks = np.zeros((len(found), side, side), bool)
        for own, mask in zip(masks, found.masks(), strict=True):
            rows, columns = (_nearest(length, scale) for length in mask.shape)
            own[: len(rows), : len(columns)] = mask[np.ix_(rows, columns)]
        return replace(found, box=found.box * scale, rle=tuple(encode(mask) for mask in masks))

    def digest(self) -> str:
        """One of all images' pixels, in their order."""
        return digest([int(hashes(self.decode(i)[None])[0]) for i in range(len(self))])


def composed(data: ScenesData, world: SceneParams, split: str, count: int) -> AnnotatedImages:
    """The first scenes of a split, each with the objects that the world has."""
    made = scenes.compose(sprites.load(data.sprites, split, None), world, split, np.arange(count))
    return AnnotatedImages(coco.parse(made.coco(), f"{split} scenes"), made.image.__getitem__)


def folder(params: CocoParams, split: str, count: int) -> AnnotatedImages:
    """The first images of a split of a folder in the format of COCO 2017, in the order of its annotations.

    Raises MissingArtifact without the annotations or an image, and InvalidInput for fewer images than count, for annotations as
    `coco.parse` does, and, when it is read, for a broken image and one of another size than annotated.
    """
    name = {"train": params.train_split, "validation": params.validation_split}[split]
    path = Path(params.root) / "annotations" / f"instances_{name}.json"
    known = coco.load(path)
    if len(known) < count:
        raise InvalidInput(path, field="images", seen=len(known), expected=f"at least {count}, as detection.{split} says")
    kept = Annotations(known.name[:count], known.size[:count], known.instances[:count], known.categories)
    return AnnotatedImages(kept, lambda i: _decode(Path(params.root) / name / kept.name[i], tuple(kept.size[i])))


def _decode(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A file's pixels in colour, (h, w, 3), as they lie in it: annotations know nothing of EXIF's orientation."""
    from PIL import Image

    if not path.is_file():
        raise MissingArtifact(path, "the image is annotated and not there", next_step="unpack the whole archive of images")
    try:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB"))
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise InvalidInput(path, field="image", seen=error, expected="a whole image file") from error
    if pixels.shape[:2] != size:
        seen, expected = " x ".join(map(str, pixels.shape[:2])), " x ".join(map(str, size))
        raise InvalidInput(path, field="height x width", seen=seen, expected=f"{expected}, as annotated")
    return pixels


def _resized(pixels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    from PIL import Image

    height, width = (_length(length, scale) for length in pixels.shape[:2])
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _length(length: int, scale: float) -> int:
    return max(1, round(length * scale))


def _nearest(length: int, scale: float) -> NDArray[np.int64]:
    """For each pixel of a resized side, the nearest one of the side as it was."""
    resized = _length(length, scale)
    at: NDArray[np.int64] = np.floor((np.arange(resized) + 0.5) * length / resized).astype(np.int64)
    return at
