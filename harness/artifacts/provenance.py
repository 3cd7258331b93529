"""The provenance of an artifact. It has neither time nor place, so that an unchanged rebuild is byte-equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from harness.artifacts.errors import InvalidInput
from harness.artifacts.strict import Strict


class Provenance(Strict):
    """profile; stage; parameters, code, images, weights: SHA-256 of what went in ("" where a stage has none).

    inputs: SHA-256 of every artifact read, by name. libraries: version by name. machine: what decides the numbers'
    last bits (processor family and instruction set), not which machine it was. artifact: which one it is, its path below
    artifacts/ without ending, e.g. "embedded/cka/mae/dino"; written by the store, and compared with the path by its readers.
    """

    profile: str
    stage: str
    parameters: str
    code: str
    images: str = ""
    weights: str = ""
    inputs: dict[str, str] = Field(default_factory=dict)
    libraries: dict[str, str] = Field(default_factory=dict)
    machine: str = ""
    artifact: str = ""


def refuse_other_images(where: str, models: Mapping[str, Provenance]) -> None:
    """Raise InvalidInput unless the models' artifacts, by name, are of the same images in the same order."""
    lists = {name: provenance.images for name, provenance in models.items()}
    if len(set(lists.values())) > 1:
        seen = ", ".join(f"{name} saw {images[:12]}" for name, images in lists.items())
        raise InvalidInput(where, field="image lists", seen=seen, expected="one list", next_step="run dvc repro")


def digest(value: Mapping[str, Any] | list[Any] | str | bytes) -> str:
    """SHA-256 of bytes, text, or of a JSON value in canonical form (sorted keys, no spaces)."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
