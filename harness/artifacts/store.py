"""Artifacts on disk: written whole or not at all, and checked against their own hash and schema when read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from harness.artifacts.array_writer import ArrayWriter
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.files import write_bytes
from harness.artifacts.header import (
    DTYPES,
    REBUILD,
    checked_header,
    described,
    header_bytes,
    identity,
    provenance_of,
    refuse_difference,
    refuse_moved,
    said,
    stamped,
)
from harness.artifacts.provenance import Provenance, digest
from harness.artifacts.schema import Schema, check, check_shapes, of_references, pieces

if TYPE_CHECKING:
    import pandas as pd


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
        """The references of a model's comparisons. Raises KeyError for an artifact without comparisons."""
        return tuple(json.loads(self.values["references"].tobytes()))

    def of(self, reference: str) -> Arrays:
        """A model's comparison with one reference, as an artifact of its own. Raises MissingArtifact for another name."""
        if reference not in self.references:
            there = ", ".join(self.references) or "nothing"
            what = f"no comparison with {reference}, only with {there}"
            raise MissingArtifact(f"artifacts/{self.provenance.artifact}", what, next_step="run dvc repro")
        found: dict[str, NDArray[Any]] = {}
        # What several comparisons share is stored with the first one.
        for start in (f"{self.references[0]}/", f"{reference}/"):
            found |= {name.removeprefix(start): array for name, array in self.values.items() if name.startswith(start)}
        return Arrays(found, self.provenance, self.sha256)


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
    header = checked_header(path, schema, text)
    check(path, schema, values)
    provenance = provenance_of(path, header)
    sha = _arrays_digest(schema, values, provenance)
    refuse_difference(path, "sha256", sha, header.get("sha256"))
    # The hash is over what the header says; of its padding and spelling there is one right version too.
    shapes = {name: values[name].shape for name in sorted(values)}
    refuse_moved(path, provenance)
    refuse_difference(path, "header", digest(raw), digest(header_bytes(schema, shapes, provenance, sha)))
    return Arrays(values, provenance, sha)


def kind_of_arrays(path: Path) -> str:
    """Which kind of artifact a .safetensors file says that it is. Raises MissingArtifact and InvalidInput."""
    _must_exist(path)
    return str(said(path, _map(path)[1])["kind"])


def kind_of_table(path: Path) -> str:
    """The same of a .json file."""
    _must_exist(path)
    try:
        text = json.dumps(json.loads(path.read_bytes())["artifact"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(path, field="file", seen=error, expected="a whole JSON artifact", next_step=REBUILD) from error
    return str(said(path, text)["kind"])


def write_pairs(path: Path, schema: Schema, pairs: Mapping[str, Mapping[str, NDArray[Any]]], provenance: Provenance) -> str:
    """Write a model's comparisons with its references, by their names, as one artifact; else as write_arrays.

    A column that equals that of the first comparison, such as the model's own numbers, is stored there alone.

    schema: of one comparison.
    """
    values: dict[str, NDArray[Any]] = {"references": np.frombuffer(json.dumps(list(pairs)).encode(), np.uint8)}
    first: Mapping[str, NDArray[Any]] = {}
    for reference, pair in pairs.items():
        values |= {f"{reference}/{name}": array for name, array in pair.items() if not _same(array, first.get(name))}
        first = first or pair
    return write_arrays(path, of_references(schema, list(pairs), values), values, provenance)


def read_pairs(path: Path, schema: Schema) -> Arrays:
    """Read and verify what write_pairs wrote; `Arrays.of` gives one comparison. The same errors as read_arrays."""
    _must_exist(path)
    _, text, values = _map(path)
    # A file of another kind is told by its kind, not by what it lacks.
    checked_header(path, schema, text)
    try:
        names = json.loads(values["references"].tobytes())
    except (KeyError, ValueError) as error:
        expected = "the names of the references"
        raise InvalidInput(path, field="references", seen=error, expected=expected, next_step=REBUILD) from error
    found = read_arrays(path, of_references(schema, names, values))
    for name in names:
        check_shapes(path, schema, {column: array.shape for column, array in found.of(name).values.items()})
    return found


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
    provenance = stamped(path, provenance)
    sha = _table_digest(schema, records, provenance)
    write_bytes(path, _table_bytes(schema, provenance, sha, records))
    return sha


def read_table(path: Path, schema: Schema) -> Table:
    """Read and verify a .json table; the same errors as read_arrays."""
    _must_exist(path)
    try:
        content = path.read_bytes()
        body = json.loads(content)
        header, records = checked_header(path, schema, json.dumps(body["artifact"])), body["rows"]
        provenance = provenance_of(path, header)
        sha = _table_digest(schema, records, provenance)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(path, field="file", seen=error, expected="a whole JSON artifact", next_step=REBUILD) from error
    refuse_difference(path, "sha256", sha, header.get("sha256"))
    refuse_difference(path, "file", digest(content), digest(_table_bytes(schema, provenance, sha, records)))
    refuse_moved(path, provenance)
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


def _same(a: NDArray[Any], b: NDArray[Any] | None) -> bool:
    """Whether two arrays are equal to the last bit."""
    return b is not None and (a.dtype, a.shape) == (b.dtype, b.shape) and a.tobytes() == b.tobytes()


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise MissingArtifact(path, "the artifact has not been measured", next_step="run dvc repro")


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
                shape, dtype = tuple(entry["shape"]), DTYPES[entry["dtype"]]
                offset = len(raw) + entry["data_offsets"][0]
                values[name] = np.empty(shape, dtype) if 0 in shape else np.memmap(file, dtype, "r", offset, shape)
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise InvalidInput(path, field="file", seen=error, expected="a whole safetensors file", next_step=REBUILD) from error
    return raw, text, values


def _arrays_digest(schema: Schema, arrays: Mapping[str, NDArray[Any]], provenance: Provenance) -> str:
    content = {name: [str(a.dtype), list(a.shape), _content(a)] for name, a in sorted(arrays.items())}
    return digest(identity(schema, provenance, content))


def _content(array: NDArray[Any]) -> str:
    sha = hashlib.sha256()
    for rows in pieces(array):
        sha.update(np.ascontiguousarray(rows).tobytes())
    return sha.hexdigest()


def _table_digest(schema: Schema, records: list[dict[str, Any]], provenance: Provenance) -> str:
    return digest(identity(schema, provenance, records))


def _table_bytes(schema: Schema, provenance: Provenance, sha: str, records: list[dict[str, Any]]) -> bytes:
    body = {"artifact": described(schema, provenance, sha), "rows": records}
    return (json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
