"""Claims known not to hold at a profile, with the evidence: strict expected failures."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path

from pydantic import ValidationError

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.strict import Strict


class Reversal(Strict):
    """One claim that is refuted at one source. evidence: what was measured, in a sentence; date: when."""

    id: str
    source: str
    evidence: str
    date: date


class _File(Strict):
    reversal: tuple[Reversal, ...] = ()


def load(path: Path) -> dict[tuple[str, str], Reversal]:
    """Reversals by (id, source). Raises MissingArtifact; InvalidInput for a wrong entry or one that stands twice."""
    if not path.is_file():
        raise MissingArtifact(path, "no reversals", next_step="name an existing file after --reversals")
    try:
        raw = tomllib.loads(path.read_text())
        entries = _File.model_validate(raw | {"reversal": tuple(raw.get("reversal", ()))}).reversal
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(path, field="TOML", seen=error, expected="valid TOML") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InvalidInput(path, field=field, seen=repr(first["input"])[:120], expected=first["msg"]) from error
    known = {(entry.id, entry.source): entry for entry in entries}
    if len(known) < len(entries):
        seen = sorted(f"{e.id} at {e.source}" for e in entries)
        raise InvalidInput(path, field="reversal", seen=seen, expected="each claim and source once")
    return known
