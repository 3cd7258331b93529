"""Instances in COCO's format: objects with a category, a box and a mask, of the embedded scenes or from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput, MissingArtifact


@dataclass(frozen=True, eq=False)
class Instances:
    """The objects, or the detections, of one image.

    box: (k, 4) float64, left, top, width, height in pixels. rle: k compressed run-length encodings of masks (size, counts).
    category: (k,) int64, numbered from 0 in the order of the categories' ids. area: (k,) float64, in square pixels: as
    annotated, of a detection that of its mask. crowd: (k,) bool, a region of many objects. score: (k,) float64, 1 for objects.
    """

    box: NDArray[np.float64]
    rle: Sequence[Mapping[str, Any]]
    category: NDArray[np.int64]
    area: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.category)

    def chosen(self, kept: NDArray[np.bool_]) -> Instances:
        """Some of them, by a mask (k,)."""
        rle = tuple(one for one, keep in zip(self.rle, kept, strict=True) if keep)
        return Instances(self.box[kept], rle, self.category[kept], self.area[kept], self.crowd[kept], self.score[kept])

    def masks(self) -> NDArray[np.bool_]:
        """(k, height, width)."""
        from faster_coco_eval.core import mask

        return np.stack([mask.decode(dict(one)).astype(bool) for one in self.rle]) if self.rle else np.zeros((0, 0, 0), bool)


@dataclass(frozen=True, eq=False)
class Annotations:
    """Images with their instances. name: file names. size: (n, 2) height and width. categories: their names, by number."""

    name: tuple[str, ...]
    size: NDArray[np.int64]
    instances: tuple[Instances, ...]
    categories: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.name)

    def areas(self) -> NDArray[np.float64]:
        """The areas of all objects that are no crowds."""
        return np.concatenate([one.area[~one.crowd] for one in self.instances])


def load(path: Path) -> Annotations:
    """Read a file of annotations, such as COCO's instances_val2017.json.

    Raises MissingArtifact, and InvalidInput as parse does.
    """
    if not path.is_file():
        raise MissingArtifact(path, "there are no annotations", next_step="set the path of COCO's instances file")
    try:
        raw = json.loads(path.read_bytes())
    except ValueError as error:
        raise InvalidInput(path, field="file", seen=error, expected="a whole JSON file of COCO instances") from error
    return parse(raw, str(path))


def parse(raw: Any, where: str) -> Annotations:
    """Annotations from COCO's dictionary of images, categories and annotations.

    Masks may be polygons or run lengths, compressed or not. Images without objects stay. A box is cut off at the image's
    border.
    Raises InvalidInput for a missing list or key, an id that stands twice, an unknown image or category, a mask of another size
    than its image, and a box of no area or outside of the image.
    """

    def refuse(field: str, seen: object, expected: str) -> InvalidInput:
        return InvalidInput(where, field=field, seen=seen, expected=expected)

    lists = {}
    for name in ("images", "categories", "annotations"):
        found = raw.get(name) if isinstance(raw, Mapping) else None
        if not isinstance(found, list):
            raise refuse(name, type(found).__name__, "a list")
        keys = [entry.get("id") if isinstance(entry, Mapping) else None for entry in found]
        twice = sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
        if twice:
            raise refuse(f"id of {name}", f"{twice[0]} twice", "each id once")
        lists[name] = found
    categories = sorted(lists["categories"], key=lambda entry: entry["id"])
    number = {entry["id"]: i for i, entry in enumerate(categories)}
    images = {entry["id"]: entry for entry in lists["images"]}
    of_image: dict[Any, list[Mapping[str, Any]]] = {id: [] for id in images}
    for entry in lists["annotations"]:
        field = f"annotation {entry.get('id')}"
        for key in ("image_id", "category_id", "bbox", "area", "segmentation"):
            if key not in entry:
                raise refuse(f"{field}.{key}", "nothing", "a value")
        if entry["image_id"] not in images:
            raise refuse(f"{field}.image_id", entry["image_id"], "the id of an image")
        if entry["category_id"] not in number:
            raise refuse(f"{field}.category_id", entry["category_id"], f"one of {', '.join(map(str, number))}")
        of_image[entry["image_id"]].append(entry)
    sizes = np.array([(entry["height"], entry["width"]) for entry in images.values()], np.int64).reshape(-1, 2)
    instances = []
    for (height, width), entries in zip(sizes.tolist(), of_image.values(), strict=True):
        boxes, rles = [], []
        for entry in entries:
            field = f"annotation {entry['id']}"
            x, y, w, h = (float(number) for number in entry["bbox"])
            left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
            if right <= left or bottom <= top:
                raise refuse(f"{field}.bbox", [x, y, w, h], f"a box of some area within {width} x {height} pixels")
            boxes.append((left, top, right - left, bottom - top))
            rles.append(_encoded(entry["segmentation"], height, width, where, field))
        instances.append(
            Instances(
                np.array(boxes, np.float64).reshape(-1, 4),
                tuple(rles),
                np.array([number[entry["category_id"]] for entry in entries], np.int64),
                np.array([entry["area"] for entry in entries], np.float64),
                np.array([bool(entry.get("iscrowd", 0)) for entry in entries], bool),
                np.ones(len(entries)),
            )
        )
    names = tuple(str(entry.get("file_name", id)) for id, entry in images.items())
    return Annotations(names, sizes, tuple(instances), tuple(str(entry.get("name", entry["id"])) for entry in categories))


def encode(mask: NDArray[np.bool_]) -> Mapping[str, Any]:
    """The compressed run lengths of a mask (height, width)."""
    from faster_coco_eval.core import mask as api

    encoded: Mapping[str, Any] = api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return encoded


def _encoded(segmentation: Any, height: int, width: int, where: str, field: str) -> Mapping[str, Any]:
    from faster_coco_eval.core import mask

    if isinstance(segmentation, Mapping):
        size = list(segmentation.get("size", ()))
        if size != [height, width]:
            expected = f"[{height}, {width}], the image's height and width"
            raise InvalidInput(where, field=f"{field}.segmentation.size", seen=size, expected=expected)
        if isinstance(segmentation["counts"], list):
            encoded: Mapping[str, Any] = mask.frPyObjects(dict(segmentation), height, width)
            return encoded
        return dict(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        seen, expected = type(segmentation).__name__, "polygons, or run lengths with size and counts"
        raise InvalidInput(where, field=f"{field}.segmentation", seen=seen, expected=expected)
    merged: Mapping[str, Any] = mask.merge(mask.frPyObjects(segmentation, height, width))
    return merged
