"""The pipeline: what dvc's files say. dvc.yaml of the project's root and those of pipeline/ are one graph.

dvc reads and writes a whole lock file for each stage that runs, which takes seconds when one file has all stages. So the stages
of all models are in files of their own, and `dvc repro` reaches them since the stages of the root depend on their results.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.params.profile import Profile

# Those of the root are the last, where `dvc repro` ends.
FOLDERS = ("pipeline/models", "pipeline/comparisons", "pipeline/features", "pipeline/probes", "")
FILES = tuple(Path(folder, "dvc.yaml") for folder in FOLDERS)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Job:
    """One stage of one model, as dvc names it. about: the matrix's values by their key. deps, outs: paths."""

    name: str
    about: Mapping[str, str]
    command: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]

    @property
    def stage(self) -> str:
        """The stage without what it is about."""
        return self.name.partition("@")[0]


def stages() -> dict[str, dict[str, Any]]:
    """Every stage by its name, in the order of the files."""
    return {name: stage for path in FILES for name, stage in _read(path)["stages"].items()}


def recorded() -> dict[str, dict[str, Any]]:
    """What dvc.lock beside each file has of the jobs, by their names; nothing of a file without a lock."""
    locks = [path.with_suffix(".lock") for path in FILES]
    return {name: job for path in locks if path.is_file() for name, job in _read(path)["stages"].items()}


def address(name: str) -> str:
    """A stage as dvc is called with it from the project's root."""
    path = next(path for path in FILES if name in _read(path)["stages"])
    return name if path.parent == Path() else f"{path}:{name}"


def jobs(profile: Profile) -> Iterator[Job]:
    """Every job at a profile, in the order of its stages."""
    for name, stage in stages().items():
        variables = {key: value for entry in stage.get("vars", []) for key, value in entry.items()}
        matrix = {key: _values(values, profile) for key, values in stage["matrix"].items()}
        for chosen in itertools.product(*matrix.values()):
            about = dict(zip(matrix, chosen, strict=True))
            given = {f"item.{key}": value for key, value in about.items()} | variables
            deps = tuple(_filled(dep, given, profile) for dep in stage["deps"])
            outs = tuple(_filled(out if isinstance(out, str) else next(iter(out)), given, profile) for out in stage["outs"])
            yield Job(f"{name}@{'-'.join(chosen)}", about, _filled(stage["cmd"], given, profile), deps, outs)


def _values(values: str | list[str], profile: Profile) -> list[str]:
    if isinstance(values, str):
        return list(_of_profile(values, profile))
    return [_filled(value, {}, profile) for value in values]


def _filled(text: str, given: Mapping[str, str], profile: Profile) -> str:
    """A text with its ${...} replaced."""
    return re.sub(r"\$\{([^}]*)\}", lambda m: given[m[1]] if m[1] in given else _of_profile(m[0], profile), text)


def _of_profile(text: str, profile: Profile) -> Any:
    """What ${profile.field} or ${profile.field[i]} stands for."""
    match = re.fullmatch(r"\$\{profile\.(\w+)(?:\[(\d+)\])?\}", text)
    assert match is not None, text
    value = getattr(profile, match[1])
    return value if match[2] is None else value[int(match[2])]


def _read(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=_Loader)
