"""Images: write the profile's pixels as plain arrays, so that a network can embed them elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from tqdm import tqdm

from harness.artifacts import files
from harness.data import images
from harness.stages.place import Place


def run(place: Place, *, say: Callable[[str], None] = print) -> None:
    """Write images/<profile>/<split>.npy, (n, s, s, 3) uint8, and <split>_image.npy, (n,) int64 hashes, of either split.

    They are those that every model of the profile is measured on, in their order. A file is there when it is whole.
    """
    size = place.settings.extract
    for split, count in (("train", size.bank), ("validation", size.queries)):
        path = Path("images", place.profile, f"{split}.npy")
        shape = (count, place.settings.data.size, place.settings.data.size, 3)
        known = _write(path, images.load(place.settings.data, split, count, size.seed), shape, size.batch)
        with files.written(path.with_name(f"{split}_image.npy"), known.nbytes) as file:
            np.save(file, known)
        say(f"{path}: {count} images")


def _write(path: Path, source: images.Images, shape: tuple[int, ...], batch: int) -> np.ndarray:
    """Write the pixels, a batch in memory at a time; their hashes."""
    known = []
    bar = tqdm(total=shape[0], unit="image", desc=path.stem, disable=not sys.stderr.isatty())
    with bar, files.written(path, int(np.prod(shape, dtype=np.int64))) as file:
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for pixels in source.batches(batch):
            file.write(np.ascontiguousarray(pixels).tobytes())
            known.append(images.hashes(pixels))
            bar.update(len(pixels))
    return np.concatenate(known)
