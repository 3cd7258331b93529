"""A profile's artifacts on disk: each is checked by itself, and its recorded inputs against the present ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from harness.artifacts import header, store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.schema import Column, Schema
from harness.artifacts.store import Arrays, Table
from harness.artifacts.tables import ARRAYS, PAIRS, TABLES

# What is no artifact of the store: fingerprints, what was accepted, hashes of references, the report. Banks do not ship.
_OTHERS = ("accepted.json", "banks", "compared", "fingerprints", "references", "report")
_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "I64": "int64", "I16": "int16", "U8": "uint8"}


def read(path: Path) -> Arrays | Table:
    """An artifact of any kind, which its own header names. Raises InvalidInput as the store's readers do."""
    if path.suffix == ".json":
        return store.read_table(path, TABLES[_one_of(path, store.kind_of_table(path), TABLES)])
    kind = store.kind_of_arrays(path)
    if kind == "checkpoint":
        return store.read_arrays(path, _checkpoint(path))
    if kind in PAIRS:
        return store.read_pairs(path, PAIRS[kind])
    return store.read_arrays(path, ARRAYS[_one_of(path, kind, ARRAYS)])


def read_all(root: Path) -> dict[str, Arrays | Table]:
    """Every artifact below a profile's folder, checked against its hash and schema, by its name such as "cka/mae".

    Raises InvalidInput for the first that is broken.
    """
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.suffix in (".json", ".safetensors") and name.parts[0] not in _OTHERS:
            found[str(name.with_suffix(""))] = read(path)
    return found


def refuse_other_inputs(root: Path, found: Mapping[str, Arrays | Table]) -> int:
    """Compare every recorded input of an artifact with the present one; return the number of inputs.

    Raises InvalidInput for the first artifact with a changed or missing input.
    """
    links = 0
    for name, artifact in found.items():
        for source, sha in artifact.provenance.inputs.items():
            there = found[source].sha256 if source in found else "nothing"
            if there != sha:
                step = "run dvc repro: what was made from other data is measured anew"
                field = f"provenance.inputs, {source}"
                raise InvalidInput(root / name, field=field, seen=sha[:12], expected=there[:12], next_step=step)
            links += 1
    return links


def _one_of(path: Path, kind: str, known: Mapping[str, Schema]) -> str:
    if kind not in known:
        raise InvalidInput(path, field="kind", seen=kind, expected=" or ".join(sorted(known)), next_step=header.REBUILD)
    return kind


def _checkpoint(path: Path) -> Schema:
    """The schema of whatever tensors a checkpoint has."""
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: (piece.get_dtype(), piece.get_shape()) for name, piece in slices.items()}
    except SafetensorError as error:
        expected = "a whole safetensors file"
        raise InvalidInput(path, field="file", seen=error, expected=expected, next_step=header.REBUILD) from error
    columns = {
        name: Column(_DTYPES.get(dtype, dtype), tuple(f"{name}.{i}" for i in range(len(shape))), "weight")
        for name, (dtype, shape) in shapes.items()
    }
    return Schema("checkpoint", 1, columns)
