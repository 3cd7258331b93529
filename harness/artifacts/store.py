"""Artifacts on disk: written whole or not at all, and checked against their own hash and schema when read."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from harness.artifacts import files
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.files import write_bytes
from harness.artifacts.provenance import Provenance, digest
from harness.artifacts.schema import Schema, check, check_range, check_shapes, of_references, pieces

if TYPE_CHECKING:
    import pandas as pd

REBUILD = "remove the file and run dvc repro"


@dataclass(frozen=True)
class Arrays:
    """Named arrays of one artifact, with what made them and the artifact's own SHA-256."""

    values: Mapping[str, NDArray[Any]]
    provenance: Provenance
    sha256: str

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.values[name]

    @property
    def references(self) -> tuple[str, ...]:
        """Whom a model's comparisons are with. Raises KeyError where the artifact is no such file."""
        return tuple(json.loads(self.values["references"].tobytes()))

    def of(self, reference: str) -> Arrays:
        """A model's comparison with one reference, as an artifact of its own. Raises MissingArtifact for another name."""
        start = f"{reference}/"
        if reference not in self.references:
            there = ", ".join(self.references) or "nothing"
            what = f"no comparison with {reference}, only with {there}"
            raise MissingArtifact(f"artifacts/{self.provenance.artifact}", what, next_step="run dvc repro")
        own = {name.removeprefix(start): array for name, array in self.values.items() if name.startswith(start)}
        return Arrays(own, self.provenance, self.sha256)


@dataclass(frozen=True)
class Table:
    """Rows of one artifact, with what made them and the artifact's own SHA-256."""

    rows: pd.DataFrame
    provenance: Provenance
    sha256: str


def write_arrays(path: Path, schema: Schema, values: Mapping[str, NDArray[Any]], provenance: Provenance) -> str:
    """Write a .safetensors artifact atomically; return its SHA-256. Raises InvalidInput and BadEnvironment."""
    check(path, schema, values)
    with ArrayWriter(path, schema, {name: array.shape for name, array in values.items()}) as out:
        for name, array in values.items():
            out.append(name, array)
        return out.finish(provenance)


def read_arrays(path: Path, schema: Schema) -> Arrays:
    """Read and verify a .safetensors artifact, mapped into memory and read-only. Nothing in the file is ever executed.

    Raises MissingArtifact; InvalidInput when it is corrupt, truncated, tampered with, of another kind or version, or lies at
    the path of another artifact.
    """
    _must_exist(path)
    raw, text, values = _map(path)
    header = _header(path, schema, text)
    check(path, schema, values)
    provenance = _provenance(path, header)
    sha = _arrays_digest(schema, values, provenance)
    _same(path, "sha256", sha, header.get("sha256"))
    # The hash is over what the header says; of its padding and spelling there is one right version too.
    shapes = {name: values[name].shape for name in sorted(values)}
    _in_place(path, provenance)
    _same(path, "header", digest(raw), digest(_header_bytes(schema, shapes, provenance, sha)))
    return Arrays(values, provenance, sha)


def kind_of_arrays(path: Path) -> str:
    """Which kind of artifact a .safetensors file says that it is. Raises MissingArtifact and InvalidInput."""
    _must_exist(path)
    return str(_said(path, _map(path)[1])["kind"])


def kind_of_table(path: Path) -> str:
    """The same of a .json file."""
    _must_exist(path)
    try:
        text = json.dumps(json.loads(path.read_bytes())["artifact"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(path, field="file", seen=error, expected="a whole JSON artifact", next_step=REBUILD) from error
    return str(_said(path, text)["kind"])


def write_pairs(path: Path, schema: Schema, pairs: Mapping[str, Mapping[str, NDArray[Any]]], provenance: Provenance) -> str:
    """Write a model's comparisons with its references, by their names, as one artifact; else as write_arrays.

    schema: of one comparison.
    """
    values: dict[str, NDArray[Any]] = {"references": np.frombuffer(json.dumps(list(pairs)).encode(), np.uint8)}
    values |= {f"{reference}/{name}": array for reference, pair in pairs.items() for name, array in pair.items()}
    return write_arrays(path, of_references(schema, list(pairs)), values, provenance)


def read_pairs(path: Path, schema: Schema) -> Arrays:
    """Read and verify what write_pairs wrote; `Arrays.of` gives one comparison. The same errors as read_arrays."""
    _must_exist(path)
    _, text, values = _map(path)
    # A file of another kind is told by its kind, not by what it lacks.
    _header(path, schema, text)
    try:
        names = json.loads(values["references"].tobytes())
    except (KeyError, ValueError) as error:
        expected = "the names of the references"
        raise InvalidInput(path, field="references", seen=error, expected=expected, next_step=REBUILD) from error
    return read_arrays(path, of_references(schema, names))


class ArrayWriter:
    """A .safetensors artifact written piece by piece along each array's first axis, so that memory does not grow with it.

    Use as a context manager; the file appears, whole, at finish(), and not at all otherwise. Until then its parts lie in the
    folder .<name>.<process>.<random>.tmp beside it. The next writer of the same artifact removes such a folder if the process
    that made it is no longer alive on this machine, as after SIGKILL.
    """

    def __init__(self, path: Path, schema: Schema, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.path, self.schema = path, schema
        check_shapes(path, schema, shapes)
        flat = [name for name, shape in shapes.items() if not shape]
        if flat:
            raise InvalidInput(path, field=flat[0], seen="shape ()", expected="at least one axis")
        self._shapes = {name: tuple(shapes[name]) for name in sorted(shapes)}
        self._hashes = {name: hashlib.sha256() for name in shapes}
        self._filled = dict.fromkeys(shapes, 0)
        self._parts: dict[str, Path] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> ArrayWriter:
        with files.environment(self.path, 0):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.sweep(self.path)
            self._folder = tempfile.TemporaryDirectory(dir=self.path.parent, prefix=files.prefix(self.path), suffix=".tmp")
        self._parts = {name: Path(self._folder.name) / str(i) for i, name in enumerate(self._shapes)}
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def append(self, name: str, part: NDArray[Any]) -> None:
        """Add rows to an array. Raises InvalidInput on another dtype, width, range or a NaN; BadEnvironment on a full disk."""
        if name not in self._shapes:
            raise InvalidInput(self.path, field="columns", seen=name, expected=sorted(self._shapes))
        column, shape = self.schema.columns[name], self._shapes[name]
        if part.dtype != np.dtype(column.dtype) or part.shape[1:] != shape[1:]:
            seen, expected = f"{part.dtype} {part.shape}", f"{column.dtype} (rows, {str(shape[1:])[1:]}"
            raise InvalidInput(self.path, field=name, seen=seen, expected=expected)
        filled = self._filled[name] + len(part)
        if filled > shape[0]:
            raise InvalidInput(self.path, field=f"rows of {name}", seen=filled, expected=shape[0])
        check_range(self.path, name, column, part, self._filled[name])
        content = np.ascontiguousarray(part).tobytes()
        with files.environment(self.path, len(content)), self._parts[name].open("ab") as file:
            file.write(content)
        self._hashes[name].update(content)
        self._filled[name] = filled

    def finish(self, provenance: Provenance) -> str:
        """Put the arrays together under their header; return the artifact's SHA-256."""
        short = {name: n for name, n in self._filled.items() if n != self._shapes[name][0]}
        if short:
            expected = {name: self._shapes[name][0] for name in short}
            raise InvalidInput(self.path, field=f"rows of {', '.join(short)}", seen=short, expected=expected)
        content = {
            name: [str(np.dtype(self.schema.columns[name].dtype)), list(shape), self._hashes[name].hexdigest()]
            for name, shape in self._shapes.items()
        }
        provenance = _stamped(self.path, provenance)
        sha = digest(_identity(self.schema, provenance, content))
        assert self._folder is not None
        whole = Path(self._folder.name) / "whole"
        header = _header_bytes(self.schema, self._shapes, provenance, sha)
        parts = [part for part in self._parts.values() if part.exists()]
        with files.environment(self.path, len(header) + sum(part.stat().st_size for part in parts)), whole.open("wb") as file:
            file.write(header)
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 22)
            files.publish(file, whole, self.path)
        return sha


def write_table(path: Path, schema: Schema, rows: pd.DataFrame, provenance: Provenance) -> str:
    """Write a .json table atomically; return its SHA-256. Raises InvalidInput and BadEnvironment.

    Numbers come back bit for bit; null stands for an undefined one.
    """
    check(path, schema, {name: rows[name].to_numpy() for name in rows.columns})
    lists = {name: rows[name].tolist() for name in schema.columns}
    records = [
        {name: None if value != value else value for name, value in zip(lists, values, strict=True)}
        for values in zip(*lists.values(), strict=True)
    ]
    provenance = _stamped(path, provenance)
    sha = _table_digest(schema, records, provenance)
    write_bytes(path, _table_bytes(schema, provenance, sha, records))
    return sha


def read_table(path: Path, schema: Schema) -> Table:
    """Read and verify a .json table; the same errors as read_arrays."""
    _must_exist(path)
    try:
        content = path.read_bytes()
        body = json.loads(content)
        header, records = _header(path, schema, json.dumps(body["artifact"])), body["rows"]
        provenance = _provenance(path, header)
        sha = _table_digest(schema, records, provenance)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(path, field="file", seen=error, expected="a whole JSON artifact", next_step=REBUILD) from error
    _same(path, "sha256", sha, header.get("sha256"))
    _same(path, "file", digest(content), digest(_table_bytes(schema, provenance, sha, records)))
    _in_place(path, provenance)
    rows = _rows(path, schema, records)
    check(path, schema, {name: rows[name].to_numpy() for name in rows.columns})
    return Table(rows, provenance, sha)


def _rows(path: Path, schema: Schema, records: list[dict[str, Any]]) -> pd.DataFrame:
    # Imported here: claims read arrays, and pandas would be a fourth of their start-up.
    import pandas as pd

    names = list(schema.columns)
    try:
        strange = [record for record in records if set(record) != set(names)]
        rows = pd.DataFrame({name: [record[name] for record in records] for name in names}) if not strange else None
        for name, column in schema.columns.items():
            if rows is not None and column.dtype != "str":
                rows[name] = rows[name].to_numpy(dtype=np.dtype(column.dtype))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInput(path, field="rows", seen=error, expected=f"columns of {schema.kind}", next_step=REBUILD) from error
    if rows is None:
        raise InvalidInput(path, field="rows", seen=sorted(strange[0]), expected=sorted(names), next_step=REBUILD)
    return rows


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise MissingArtifact(path, "the artifact has not been measured", next_step="run dvc repro")


_TAGS = {"uint8": "U8", "int16": "I16", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64"}
_DTYPES = {tag: np.dtype(name) for name, tag in _TAGS.items()}


def _map(path: Path) -> tuple[bytes, str, dict[str, NDArray[Any]]]:
    """The file's header, the artifact's own text in it, and read-only arrays that stay on disk until they are looked at."""
    try:
        # The library validates the layout (offsets, sizes, overlaps) before anything is mapped.
        with safe_open(path, framework="np"):
            pass
        # Mapped through one handle: a writer may put another file at this path in the meantime.
        with path.open("rb") as file:
            raw = file.read(8)
            raw += file.read(int.from_bytes(raw, "little"))
            entries = json.loads(raw[8:])
            text = (entries.pop("__metadata__", None) or {}).get("artifact", "")
            values: dict[str, NDArray[Any]] = {}
            for name, entry in entries.items():
                shape, dtype = tuple(entry["shape"]), _DTYPES[entry["dtype"]]
                offset = len(raw) + entry["data_offsets"][0]
                values[name] = np.empty(shape, dtype) if 0 in shape else np.memmap(file, dtype, "r", offset, shape)
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise InvalidInput(path, field="file", seen=error, expected="a whole safetensors file", next_step=REBUILD) from error
    return raw, text, values


def _said(path: Path, text: str) -> dict[str, Any]:
    """What an artifact says of itself."""
    try:
        header: dict[str, Any] = json.loads(text)
        header["kind"], header["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        expected = "kind, version, hash, provenance"
        raise InvalidInput(path, field="header", seen=text[:80] or "none", expected=expected, next_step=REBUILD) from error
    return header


def _header(path: Path, schema: Schema, text: str) -> dict[str, Any]:
    header = _said(path, text)
    kind, version = header["kind"], header["version"]
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


def _stamped(path: Path, provenance: Provenance) -> Provenance:
    return provenance.model_copy(update={"artifact": _name(path)})


def _in_place(path: Path, provenance: Provenance) -> None:
    """Refuse an artifact that was renamed, or copied over another."""
    if provenance.artifact != _name(path):
        seen = provenance.artifact or "no name"
        raise InvalidInput(path, field="artifact", seen=seen, expected=_name(path), next_step=REBUILD)


def _name(path: Path) -> str:
    """Which artifact lies at a path: what follows the last folder called artifacts, or the file's own name without one."""
    parts = path.with_suffix("").parts
    below = len(parts) - parts[::-1].index("artifacts") if "artifacts" in parts else len(parts) - 1
    return "/".join(parts[below:])


def _same(path: Path, field: str, seen: object, expected: object) -> None:
    if seen != expected:
        raise InvalidInput(path, field=field, seen=f"SHA-256 {seen}", expected=f"SHA-256 {expected}", next_step=REBUILD)


def _arrays_digest(schema: Schema, arrays: Mapping[str, NDArray[Any]], provenance: Provenance) -> str:
    content = {name: [str(a.dtype), list(a.shape), _content(a)] for name, a in sorted(arrays.items())}
    return digest(_identity(schema, provenance, content))


def _content(array: NDArray[Any]) -> str:
    sha = hashlib.sha256()
    for rows in pieces(array):
        sha.update(np.ascontiguousarray(rows).tobytes())
    return sha.hexdigest()


def _described(schema: Schema, provenance: Provenance, sha: str) -> dict[str, Any]:
    return {"kind": schema.kind, "version": schema.version, "sha256": sha, "provenance": provenance.model_dump()}


def _identity(schema: Schema, provenance: Provenance, content: object) -> dict[str, Any]:
    return {"kind": schema.kind, "version": schema.version, "provenance": provenance.model_dump(), "content": content}


def _table_digest(schema: Schema, records: list[dict[str, Any]], provenance: Provenance) -> str:
    return digest(_identity(schema, provenance, records))


def _header_bytes(schema: Schema, shapes: Mapping[str, tuple[int, ...]], provenance: Provenance, sha: str) -> bytes:
    """The one header of an artifact in the safetensors format: its length, and JSON padded to 8 bytes."""
    artifact = json.dumps(_described(schema, provenance, sha), sort_keys=True)
    entries: dict[str, Any] = {"__metadata__": {"artifact": artifact}}
    end = 0
    for name, shape in shapes.items():
        dtype = np.dtype(schema.columns[name].dtype)
        start, end = end, end + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        entries[name] = {"dtype": _TAGS[dtype.name], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _table_bytes(schema: Schema, provenance: Provenance, sha: str, records: list[dict[str, Any]]) -> bytes:
    body = {"artifact": _described(schema, provenance, sha), "rows": records}
    return (json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
