"""Embeddings in the place of weights: read from an .npz file without running anything, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.tables import EMBEDDINGS
from harness.params.models import Embeddings

# Half floats keep three digits. Where they lose more than this share of the root mean square, numbers are too small for them.
LOST = 1e-3


def read(embeddings: Embeddings) -> dict[str, NDArray[Any]]:
    """The columns of an embeddings artifact: rows (n, features) as float16, and the int64 hashes of their images.

    Raises MissingArtifact when the file is not there; InvalidInput when its SHA-256 is another, when it is no .npz file of
    just these arrays, when rows and images differ in number, or when a number is not finite or does not fit half floats.
    """
    path = embeddings.path
    if not path.is_file():
        raise MissingArtifact(path, "embeddings of the profile's images", next_step="python -m harness images, and embed them")
    raw = path.read_bytes()
    sha = hashlib.sha256(raw).hexdigest()
    if sha != embeddings.sha256:
        raise InvalidInput(path, field="sha256", seen=sha, expected=f"{embeddings.sha256}, as params.yaml has")
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            found = {name: np.asarray(file[name]) for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InvalidInput(path, field="format", seen=error, expected="an .npz file of plain arrays") from error
    if set(found) != set(EMBEDDINGS.columns):
        raise InvalidInput(path, field="arrays", seen=sorted(found), expected=sorted(EMBEDDINGS.columns))
    for split in ("train", "validation"):
        name = f"{split}_image"
        if found[name].dtype != np.int64 or found[name].ndim != 1:
            seen = f"{found[name].dtype} {found[name].shape}"
            raise InvalidInput(path, field=name, seen=seen, expected="int64 (images,), as python -m harness images wrote it")
        found[split] = _half(path, split, found[split], len(found[name]))
    widths = {split: found[split].shape[1] for split in ("train", "validation")}
    if len(set(widths.values())) != 1:
        raise InvalidInput(path, field="features", seen=widths, expected="as many of either split")
    return found


def _half(path: object, split: str, rows: NDArray[Any], images: int) -> NDArray[np.float16]:
    if rows.dtype.kind != "f" or rows.ndim != 2 or len(rows) != images or not rows.shape[1]:
        expected = f"floats ({images}, features): a row for each of {split}_image"
        raise InvalidInput(path, field=split, seen=f"{rows.dtype} {rows.shape}", expected=expected)
    limit = float(np.finfo(np.float16).max)
    bad = ~(np.abs(rows) <= limit)
    if bad.any():
        row, column = np.argwhere(bad)[0].tolist()
        expected = f"finite numbers of at most {limit:.0f}"
        raise InvalidInput(path, field=f"{split}, row {row}, feature {column}", seen=rows[row, column], expected=expected)
    half = rows.astype(np.float16)
    spread, lost = (float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) for x in (rows, rows - half.astype(rows.dtype)))
    if lost > LOST * spread:
        seen = f"a root mean square of {spread:.3g}, of which half floats lose {lost / spread:.1%}"
        raise InvalidInput(path, field=split, seen=seen, expected="larger numbers", next_step="multiply all of them by one")
    return half
