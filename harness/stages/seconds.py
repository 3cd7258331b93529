"""How long stages took on this machine, so that a plan can say how long it takes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.artifacts.errors import InvalidInput
from harness.artifacts.files import write_bytes

# Not tracked: another machine has other seconds.
KEPT = Path(".scratch/seconds.json")


def keep(arguments: Sequence[str], taken: float) -> None:
    """Remember the seconds that a stage of these arguments took. Raises BadEnvironment and InvalidInput."""
    known = _read() | {_key(arguments): round(taken, 1)}
    write_bytes(KEPT, f"{json.dumps(known, indent=1, sort_keys=True)}\n".encode())


def told(commands: Iterable[str]) -> str:
    """About how long commands of the pipeline take here, empty where none of their kind has run here. Raises InvalidInput."""
    known = _read()
    keys = [_key(command.split()[3:]) for command in commands]
    there = [known[key] for key in keys if key in known]
    if not there:
        return ""
    unknown = sorted({key.split()[0] for key in keys if key not in known})
    beside = f", beside {', '.join(unknown)}, not run here so far" if unknown else ""
    return f"about {math.ceil(sum(there) / 60)} min, as they took here last time{beside}"


def _key(arguments: Sequence[str]) -> str:
    """What was called without its model, except of weights: trainings take seconds or hours."""
    words = list(arguments)
    if "--model" in words and words[0] != "weights":
        at = words.index("--model")
        del words[at : at + 2]
    return " ".join(words)


def _read() -> dict[str, float]:
    if not KEPT.is_file():
        return {}
    try:
        return {str(key): float(value) for key, value in json.loads(KEPT.read_text()).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidInput(KEPT, field="file", seen=error, expected="seconds by command", next_step="remove it") from error
