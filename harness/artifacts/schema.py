"""Schemas of artifacts: the types, axes, units and ranges of columns, and their checks."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput


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


# Names, as `tables.pack` writes them.
TEXT = Column("uint8", ("bytes",), "JSON")


def of_references(schema: Schema, references: Sequence[str], there: Container[str]) -> Schema:
    """The schema of one model's comparisons: the columns of a pair for each reference, named "<reference>/<column>".

    there: the names of the columns that the file has. Those of the first reference must all be there.
    """
    columns = {"references": Column("uint8", ("bytes",), "JSON")}
    for i, reference in enumerate(references):
        for name, column in schema.columns.items():
            if i and f"{reference}/{name}" not in there:
                continue
            axes = tuple(f"{reference}/{axis}" for axis in column.axes)
            columns[f"{reference}/{name}"] = replace(column, axes=axes)
    return Schema(schema.kind, schema.version, columns)


def check(path: Path, schema: Schema, values: Mapping[str, NDArray[Any]]) -> None:
    """Check arrays against the schema: names, axes, types, NaN, ranges. Raises InvalidInput."""
    check_shapes(path, schema, {name: array.shape for name, array in values.items()})
    for name, column in schema.columns.items():
        array = values[name]
        if column.dtype == "str":
            strange = [value for value in array.tolist() if not isinstance(value, str)]
            if strange:
                raise InvalidInput(path, field=name, seen=f"{strange[0]!r}", expected="text")
            continue
        if array.dtype != np.dtype(column.dtype):
            raise InvalidInput(path, field=name, seen=array.dtype, expected=column.dtype)
        first = 0
        for piece in pieces(array):
            check_range(path, name, column, piece, first)
            first += len(piece) if piece.ndim else 0


def check_shapes(path: Path, schema: Schema, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse other names than the schema's, and axes of one name and several sizes. Raises InvalidInput."""
    if set(shapes) != set(schema.columns):
        expected = sorted(schema.columns)
        raise InvalidInput(path, field=f"columns of {schema.kind}", seen=sorted(shapes), expected=expected)
    sizes: dict[str, int] = {}
    for name, column in schema.columns.items():
        if len(shapes[name]) != len(column.axes):
            raise InvalidInput(path, field=name, seen=f"shape {shapes[name]}", expected=f"axes {column.axes}")
        for axis, size in zip(column.axes, shapes[name], strict=True):
            if sizes.setdefault(axis, size) != size:
                raise InvalidInput(path, field=name, seen=f"{axis} = {size}", expected=f"{axis} = {sizes[axis]}")


def check_range(path: Path, name: str, column: Column, array: NDArray[Any], first: int) -> None:
    """Refuse NaN (unless undefined), Inf and what lies outside the column's range. first: row of the whole array's."""
    if array.dtype.kind == "f":
        undefined = np.isnan(array) if column.undefined else np.zeros((), bool)
        bad = np.argwhere(~(np.isfinite(array) | undefined))
        if len(bad):
            place = [first + int(bad[0][0]), *bad[0][1:].tolist()] if array.ndim else []
            seen = f"{len(bad)} NaN or Inf, first at {place}"
            raise InvalidInput(path, field=name, seen=seen, expected="finite numbers")
        array = array[~undefined] if column.undefined else array
    if array.size == 0:
        return
    low, high = array.min(), array.max()
    if (column.low is not None and low < column.low) or (column.high is not None and high > column.high):
        raise InvalidInput(path, field=name, seen=f"[{low}, {high}]", expected=f"[{column.low}, {column.high}] {column.unit}")


def pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """An array in pieces of some 16 MiB along its first axis: mapped files are never wholly in memory."""
    if array.ndim == 0 or array.size == 0:
        yield array
        return
    step = max(1, (1 << 24) // max(1, array.nbytes // len(array)))
    for i in range(0, len(array), step):
        yield array[i : i + step]
