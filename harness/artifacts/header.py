"""The header of an artifact: its kind, version, hash and provenance, and the bytes that they are written as."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import Provenance
from harness.artifacts.schema import Schema

REBUILD = "remove the file and run dvc repro"
TAGS = {"uint8": "U8", "int16": "I16", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64"}
DTYPES = {tag: np.dtype(name) for name, tag in TAGS.items()}


def said(path: Path, text: str) -> dict[str, Any]:
    """What an artifact says of itself."""
    try:
        header: dict[str, Any] = json.loads(text)
        header["kind"], header["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        expected = "kind, version, hash, provenance"
        raise InvalidInput(path, field="header", seen=text[:80] or "none", expected=expected, next_step=REBUILD) from error
    return header


def checked_header(path: Path, schema: Schema, text: str) -> dict[str, Any]:
    """The header in an artifact's text. Raises InvalidInput for another kind or version than the schema's."""
    header = said(path, text)
    kind, version = header["kind"], header["version"]
    if (kind, version) != (schema.kind, schema.version):
        expected = f"{schema.kind} version {schema.version}"
        raise InvalidInput(path, field="schema", seen=f"{kind} version {version}", expected=expected, next_step=REBUILD)
    return header


def provenance_of(path: Path, header: Mapping[str, Any]) -> Provenance:
    """The provenance in a header. Raises InvalidInput where it is none."""
    try:
        return Provenance.model_validate(header["provenance"])
    except (KeyError, ValidationError) as error:
        raise InvalidInput(
            path, field="provenance", seen=error, expected="what made the artifact", next_step=REBUILD
        ) from error


def stamped(path: Path, provenance: Provenance) -> Provenance:
    """The provenance with the name of the artifact that lies at the path."""
    return provenance.model_copy(update={"artifact": _name(path)})


def refuse_moved(path: Path, provenance: Provenance) -> None:
    """Refuse an artifact that was renamed, or copied over another."""
    if provenance.artifact != _name(path):
        seen = provenance.artifact or "no name"
        raise InvalidInput(path, field="artifact", seen=seen, expected=_name(path), next_step=REBUILD)


def _name(path: Path) -> str:
    """Which artifact lies at a path: what follows the last folder called artifacts, or the file's own name without one."""
    parts = path.with_suffix("").parts
    below = len(parts) - parts[::-1].index("artifacts") if "artifacts" in parts else len(parts) - 1
    return "/".join(parts[below:])


def refuse_difference(path: Path, field: str, seen: object, expected: object) -> None:
    """Raise InvalidInput where two digests differ."""
    if seen != expected:
        raise InvalidInput(path, field=field, seen=f"SHA-256 {seen}", expected=f"SHA-256 {expected}", next_step=REBUILD)


def described(schema: Schema, provenance: Provenance, sha: str) -> dict[str, Any]:
    """What an artifact says of itself in its header."""
    return {"kind": schema.kind, "version": schema.version, "sha256": sha, "provenance": provenance.model_dump()}


def identity(schema: Schema, provenance: Provenance, content: object) -> dict[str, Any]:
    """What the SHA-256 of an artifact is taken over."""
    return {"kind": schema.kind, "version": schema.version, "provenance": provenance.model_dump(), "content": content}


def header_bytes(schema: Schema, shapes: Mapping[str, tuple[int, ...]], provenance: Provenance, sha: str) -> bytes:
    """The one header of an artifact in the safetensors format: its length, and JSON padded to 8 bytes."""
    artifact = json.dumps(described(schema, provenance, sha), sort_keys=True)
    entries: dict[str, Any] = {"__metadata__": {"artifact": artifact}}
    end = 0
    for name, shape in shapes.items():
        dtype = np.dtype(schema.columns[name].dtype)
        start, end = end, end + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        entries[name] = {"dtype": TAGS[dtype.name], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
