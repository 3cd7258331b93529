"""Artifacts on disk: written whole or not at all, and checked against their own hash and schema when read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from harness.artifacts.errors import BadEnvironment, InvalidInput, MissingArtifact
from harness.artifacts.provenance import Provenance, digest

REBUILD = "remove the file and run dvc repro"


@dataclass(frozen=True)
class Column:
    """One array or table column: numpy dtype name ("str" for text), axis names, unit, and inclusive range.

    undefined: whether NaN may stand where the quantity is undefined; everywhere else NaN and Inf are refused.
    """

    dtype: str
    axes: tuple[str, ...]
    unit: str
    low: float | None = None
    high: float | None = None
    undefined: bool = False


@dataclass(frozen=True)
class Schema:
    """A kind of artifact: its columns, and a version that changes whenever their meaning does."""

    kind: str
    version: int
    columns: Mapping[str, Column]


@dataclass(frozen=True)
class Arrays:
    """Named arrays of one artifact, with what made them and the artifact's own SHA-256."""

    values: Mapping[str, NDArray[Any]]
    provenance: Provenance
    sha256: str

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.values[name]


@dataclass(frozen=True)
class Table:
    """Rows of one artifact, with what made them and the artifact's own SHA-256."""

    rows: pd.DataFrame
    provenance: Provenance
    sha256: str


def write_arrays(path: Path, schema: Schema, values: Mapping[str, NDArray[Any]], provenance: Provenance) -> str:
    """Write a .safetensors artifact atomically; return its SHA-256. Raises InvalidInput and BadEnvironment."""
    _check(path, schema, values)
    with ArrayWriter(path, schema, {name: array.shape for name, array in values.items()}) as out:
        for name, array in values.items():
            out.append(name, array)
        return out.finish(provenance)


def read_arrays(path: Path, schema: Schema) -> Arrays:
    """Read and verify a .safetensors artifact, mapped into memory and read-only. Nothing in the file is ever executed.

    Raises MissingArtifact; InvalidInput when it is corrupt, truncated, tampered with, or of another kind or version.
    """
    _must_exist(path)
    text, values = _map(path)
    header = _header(path, schema, text)
    _check(path, schema, values)
    provenance = _provenance(path, header)
    _same(path, header, _arrays_digest(schema, values, provenance))
    return Arrays(values, provenance, header["sha256"])


class ArrayWriter:
    """A .safetensors artifact written piece by piece along each array's first axis, so that memory does not grow with it.

    Use as a context manager; the file appears, whole, at finish(), and not at all otherwise. What a killed process left of
    the same artifact is removed.
    """

    def __init__(self, path: Path, schema: Schema, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.path, self.schema = path, schema
        if set(shapes) != set(schema.columns):
            raise InvalidInput(path, field="columns", seen=sorted(shapes), expected=sorted(schema.columns))
        self._shapes = {name: tuple(shapes[name]) for name in sorted(shapes)}
        self._hashes = {name: hashlib.sha256() for name in shapes}
        self._filled = dict.fromkeys(shapes, 0)
        self._parts: dict[str, Path] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> ArrayWriter:
        with _environment(self.path, 0):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(self.path)
            self._folder = tempfile.TemporaryDirectory(dir=self.path.parent, prefix=_prefix(self.path), suffix=".tmp")
        self._parts = {name: Path(self._folder.name) / str(i) for i, name in enumerate(self._shapes)}
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def append(self, name: str, part: NDArray[Any]) -> None:
        """Add rows to an array. Raises InvalidInput on another dtype, width, range or a NaN; BadEnvironment on a full disk."""
        column, shape = self.schema.columns[name], self._shapes[name]
        if part.dtype != np.dtype(column.dtype) or part.shape[1:] != shape[1:]:
            seen, expected = f"{part.dtype} {part.shape}", f"{column.dtype} (rows, {str(shape[1:])[1:]}"
            raise InvalidInput(self.path, field=name, seen=seen, expected=expected)
        _check_range(self.path, name, column, part)
        content = np.ascontiguousarray(part).tobytes()
        with _environment(self.path, len(content)), self._parts[name].open("ab") as file:
            file.write(content)
        self._hashes[name].update(content)
        self._filled[name] += len(part)

    def finish(self, provenance: Provenance) -> str:
        """Put the arrays together under their header; return the artifact's SHA-256."""
        short = {name: n for name, n in self._filled.items() if n != self._shapes[name][0]}
        if short:
            raise InvalidInput(self.path, field="rows", seen=short, expected={n: self._shapes[n][0] for n in short})
        content = {
            name: [str(np.dtype(self.schema.columns[name].dtype)), list(shape), self._hashes[name].hexdigest()]
            for name, shape in self._shapes.items()
        }
        sha = digest(_identity(self.schema, provenance, content))
        assert self._folder is not None
        whole = Path(self._folder.name) / "whole"
        with _environment(self.path, 0), whole.open("wb") as file:
            file.write(self._header_bytes(json.dumps(_described(self.schema, provenance, sha), sort_keys=True)))
            for part in self._parts.values():
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 22)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(whole, 0o644)
            os.replace(whole, self.path)
        return sha

    def _header_bytes(self, artifact: str) -> bytes:
        entries: dict[str, Any] = {"__metadata__": {"artifact": artifact}}
        end = 0
        for name, shape in self._shapes.items():
            dtype = np.dtype(self.schema.columns[name].dtype)
            start, end = end, end + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            entries[name] = {"dtype": _TAGS[dtype.name], "shape": list(shape), "data_offsets": [start, end]}
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text


def write_table(path: Path, schema: Schema, rows: pd.DataFrame, provenance: Provenance) -> str:
    """Write a .json table atomically; return its SHA-256. Raises InvalidInput and BadEnvironment."""
    _check(path, schema, {name: rows[name].to_numpy() for name in rows.columns})
    records = json.loads(rows.to_json(orient="records", double_precision=15))
    sha = _table_digest(schema, records, provenance)
    body = {"artifact": _described(schema, provenance, sha), "rows": records}
    write_bytes(path, (json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    return sha


def read_table(path: Path, schema: Schema) -> Table:
    """Read and verify a .json table; the same errors as read_arrays."""
    _must_exist(path)
    try:
        body = json.loads(path.read_bytes())
        header, records = json.dumps(body["artifact"]), body["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(path, field="file", seen=error, expected="a whole JSON artifact", next_step=REBUILD) from error
    checked = _header(path, schema, header)
    provenance = _provenance(path, checked)
    _same(path, checked, _table_digest(schema, records, provenance))
    rows = pd.DataFrame.from_records(records, columns=list(schema.columns))
    for name, column in schema.columns.items():
        if column.dtype != "str":
            rows[name] = rows[name].to_numpy(dtype=np.dtype(column.dtype))
    _check(path, schema, {name: rows[name].to_numpy() for name in rows.columns})
    return Table(rows, provenance, checked["sha256"])


def write_bytes(path: Path, content: bytes) -> None:
    """Replace path by content: temporary file in the same folder, fsync, rename. A crash leaves the old file whole."""
    with _environment(path, len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes private files; artifacts are for everyone the folder is for.
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


def _prefix(path: Path) -> str:
    return f".{path.name}.{os.getpid()}."


def _sweep(path: Path) -> None:
    """Remove what writers of this artifact left that were killed; those alive keep theirs."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        owner = left.name.removeprefix(f".{path.name}.").split(".")[0]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _environment(path: Path, size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BadEnvironment(
                path, seen="the disk is full", expected=f"{size} bytes free", next_step="free space"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise BadEnvironment(path.parent, seen="not writable", expected="a writable folder") from error
        raise


def _check(path: Path, schema: Schema, values: Mapping[str, NDArray[Any]]) -> None:
    if set(values) != set(schema.columns):
        expected = sorted(schema.columns)
        raise InvalidInput(path, field=f"columns of {schema.kind}", seen=sorted(values), expected=expected)
    sizes: dict[str, int] = {}
    for name, column in schema.columns.items():
        array = values[name]
        if array.ndim != len(column.axes):
            raise InvalidInput(path, field=name, seen=f"shape {array.shape}", expected=f"axes {column.axes}")
        for axis, size in zip(column.axes, array.shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                raise InvalidInput(path, field=name, seen=f"{axis} = {size}", expected=f"{axis} = {sizes[axis]}")
        if column.dtype == "str":
            continue
        if array.dtype != np.dtype(column.dtype):
            raise InvalidInput(path, field=name, seen=array.dtype, expected=column.dtype)
        for piece in _pieces(array):
            _check_range(path, name, column, piece)


def _check_range(path: Path, name: str, column: Column, array: NDArray[Any]) -> None:
    if column.undefined:
        array = array[~np.isnan(array)]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))
        raise InvalidInput(
            path, field=name, seen=f"{len(bad)} NaN or Inf, first at {bad[0].tolist()}", expected="finite numbers"
        )
    if array.size == 0:
        return
    low, high = array.min(), array.max()
    if (column.low is not None and low < column.low) or (column.high is not None and high > column.high):
        raise InvalidInput(path, field=name, seen=f"[{low}, {high}]", expected=f"[{column.low}, {column.high}] {column.unit}")


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise MissingArtifact(path, "the artifact has not been measured", next_step="run dvc repro")


_TAGS = {"uint8": "U8", "int16": "I16", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64"}
_DTYPES = {tag: np.dtype(name) for name, tag in _TAGS.items()}


def _map(path: Path) -> tuple[str, dict[str, NDArray[Any]]]:
    """The artifact header's text and read-only arrays that stay on disk until they are looked at."""
    try:
        # The library validates the layout (offsets, sizes, overlaps) before anything is mapped.
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("artifact", "")
        with path.open("rb") as raw:
            length = int.from_bytes(raw.read(8), "little")
            entries = json.loads(raw.read(length))
        values: dict[str, NDArray[Any]] = {}
        for name, entry in entries.items():
            if name != "__metadata__":
                shape, offset = tuple(entry["shape"]), 8 + length + entry["data_offsets"][0]
                dtype = _DTYPES[entry["dtype"]]
                empty = 0 in shape
                values[name] = np.empty(shape, dtype) if empty else np.memmap(path, dtype, "r", offset, shape)
    except (SafetensorError, OSError, KeyError) as error:
        raise InvalidInput(path, field="file", seen=error, expected="a whole safetensors file", next_step=REBUILD) from error
    return text, values


def _header(path: Path, schema: Schema, text: str) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(text)
        kind, version = header["kind"], header["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(path, field="header", seen="none", expected="kind, version, hash, provenance") from error
    if (kind, version) != (schema.kind, schema.version):
        expected = f"{schema.kind} version {schema.version}"
        raise InvalidInput(path, field="schema", seen=f"{kind} version {version}", expected=expected, next_step=REBUILD)
    return header


def _provenance(path: Path, header: Mapping[str, Any]) -> Provenance:
    try:
        return Provenance.model_validate(header["provenance"])
    except (KeyError, ValidationError) as error:
        raise InvalidInput(
            path, field="provenance", seen=error, expected="what made the artifact", next_step=REBUILD
        ) from error


def _same(path: Path, header: Mapping[str, Any], actual: str) -> None:
    if header.get("sha256") != actual:
        raise InvalidInput(path, field="sha256", seen=actual, expected=header.get("sha256"), next_step=REBUILD)


def _arrays_digest(schema: Schema, arrays: Mapping[str, NDArray[Any]], provenance: Provenance) -> str:
    content = {name: [str(a.dtype), list(a.shape), _content(a)] for name, a in sorted(arrays.items())}
    return digest(_identity(schema, provenance, content))


def _content(array: NDArray[Any]) -> str:
    sha = hashlib.sha256()
    for rows in _pieces(array):
        sha.update(np.ascontiguousarray(rows).tobytes())
    return sha.hexdigest()


def _pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """An array in pieces of some 16 MiB along its first axis: mapped files are never wholly in memory."""
    if array.ndim == 0 or array.size == 0:
        yield array
        return
    step = max(1, (1 << 24) // max(1, array.nbytes // len(array)))
    for i in range(0, len(array), step):
        yield array[i : i + step]


def _described(schema: Schema, provenance: Provenance, sha: str) -> dict[str, Any]:
    return {"kind": schema.kind, "version": schema.version, "sha256": sha, "provenance": provenance.model_dump()}


def _identity(schema: Schema, provenance: Provenance, content: object) -> dict[str, Any]:
    return {"kind": schema.kind, "version": schema.version, "provenance": provenance.model_dump(), "content": content}


def _table_digest(schema: Schema, records: list[dict[str, Any]], provenance: Provenance) -> str:
    return digest(_identity(schema, provenance, records))
