"""Artifacts on disk: written whole or not at all, and checked against their own hash and schema when read."""

from __future__ import annotations

import contextlib
import errno
import json
import os
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
from safetensors.numpy import save

from harness.artifacts.errors import BadEnvironment, InvalidInput, MissingArtifact
from harness.artifacts.provenance import Provenance, digest

REBUILD = "remove the file and run dvc repro"


@dataclass(frozen=True)
class Column:
    """One array or table column: numpy dtype name ("str" for text), axis names, unit, and inclusive range."""

    dtype: str
    axes: tuple[str, ...]
    unit: str
    low: float | None = None
    high: float | None = None


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
    arrays = {name: np.ascontiguousarray(values[name]) for name in sorted(values)}
    sha = _arrays_digest(schema, arrays, provenance)
    header = {"kind": schema.kind, "version": schema.version, "sha256": sha, "provenance": provenance.model_dump()}
    write_bytes(path, save(arrays, metadata={"artifact": json.dumps(header, sort_keys=True)}))
    return sha


def read_arrays(path: Path, schema: Schema) -> Arrays:
    """Read and verify a .safetensors artifact. Nothing in the file is ever executed.

    Raises MissingArtifact; InvalidInput when it is corrupt, truncated, tampered with, or of another kind or version.
    """
    _must_exist(path)
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("artifact", "")
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except (SafetensorError, OSError) as error:
        raise InvalidInput(path, field="file", seen=error, expected="a whole safetensors file", next_step=REBUILD) from error
    header = _header(path, schema, text)
    _check(path, schema, values)
    provenance = _provenance(path, header)
    _same(path, header, _arrays_digest(schema, values, provenance))
    return Arrays(values, provenance, header["sha256"])


def write_table(path: Path, schema: Schema, rows: pd.DataFrame, provenance: Provenance) -> str:
    """Write a .json table atomically; return its SHA-256. Raises InvalidInput and BadEnvironment."""
    _check(path, schema, {name: rows[name].to_numpy() for name in rows.columns})
    records = json.loads(rows.to_json(orient="records", double_precision=15))
    sha = _table_digest(schema, records, provenance)
    header = {"kind": schema.kind, "version": schema.version, "sha256": sha, "provenance": provenance.model_dump()}
    body = {"artifact": header, "rows": records}
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
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
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
        _check_range(path, name, column, array)


def _check_range(path: Path, name: str, column: Column, array: NDArray[Any]) -> None:
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
    content = {name: [str(a.dtype), list(a.shape), digest(a.tobytes())] for name, a in sorted(arrays.items())}
    return digest({"kind": schema.kind, "version": schema.version, "provenance": provenance.model_dump(), "content": content})


def _table_digest(schema: Schema, records: list[dict[str, Any]], provenance: Provenance) -> str:
    return digest({"kind": schema.kind, "version": schema.version, "provenance": provenance.model_dump(), "content": records})
