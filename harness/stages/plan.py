"""Plan: the stages that `dvc repro` is about to run, from what has changed so far."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from harness.params.models import FINETUNED
from harness.params.profile import Profile
from harness.stages import seconds
from harness.stages.place import Place

PIPELINE, LOCK = Path("dvc.yaml"), Path("dvc.lock")
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


def stale(place: Place) -> list[Job]:
    """In the order of dvc.yaml, the jobs that dvc would run after `check`: another command or dependency than dvc.lock has, a
    missing output, or an input that one of these makes. A job whose input is made again the same is not run after all: that is
    known of the references' hashes alone.
    """
    known = _read(LOCK)["stages"] if LOCK.is_file() else {}
    every = [job for job in jobs(_read(PIPELINE)["stages"], place.settings) if job.stage != "check"]
    run = {job.name for job in every if not _stands(job, known.get(job.name, {}))}
    made = {out for job in every if job.name in run for out in job.outs}
    # dvc.yaml is not in the order of its graph.
    while True:
        fed = [job for job in every if job.name not in run and any(_within(dep, made) for dep in job.deps)]
        if not fed:
            return [job for job in every if job.name in run]
        run |= {job.name for job in fed}
        made |= {out for job in fed if not _hashes_stay(job, place, made) for out in job.outs}


def told(place: Place) -> str:
    """The stale jobs in one line, grouped by stage, and about how long they take."""
    found = stale(place)
    if not found:
        return "dvc repro has nothing to run: all results are up to date"
    count = Counter(job.stage for job in found)
    stages = ", ".join(stage if n == 1 else f"{stage} of {n}" for stage, n in count.items())
    time = seconds.told(job.command for job in found)
    return f"dvc repro runs at most {len(found)} stages: {stages}{f'; {time}' if time else ''}"


def jobs(stages: Mapping[str, Any], profile: Profile) -> Iterator[Job]:
    """Every job of dvc.yaml at a profile, in its order."""
    for name, stage in stages.items():
        variables = {key: value for entry in stage.get("vars", []) for key, value in entry.items()}
        matrix = {key: _values(values, profile) for key, values in stage["matrix"].items()}
        for chosen in itertools.product(*matrix.values()):
            about = dict(zip(matrix, chosen, strict=True))
            given = {f"item.{key}": value for key, value in about.items()} | variables
            deps = tuple(_filled(dep, given, profile) for dep in stage["deps"])
            outs = tuple(_filled(out if isinstance(out, str) else next(iter(out)), given, profile) for out in stage["outs"])
            yield Job(f"{name}@{'-'.join(chosen)}", about, _filled(stage["cmd"], given, profile), deps, outs)


def _hashes_stay(job: Job, place: Place, made: set[str]) -> bool:
    """Whether a job writes hashes of files none of which is made again; others in their folder leave its output as it is."""
    if not job.stage.startswith("references"):
        return False
    compared = place.params.compared_with(place.profile, finetuned=job.stage.endswith(FINETUNED))
    folder = next(dep for dep in job.deps if not dep.endswith(".json"))
    names = place.settings.sampled if Path(folder).name == "checkpoints" else compared
    return not {f"{folder}/{name}.safetensors" for name in names} & made


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


def _stands(job: Job, known: Mapping[str, Any]) -> bool:
    recorded = {dep["path"]: dep["md5"] for dep in known.get("deps", [])}
    if known.get("cmd") != job.command or set(recorded) != set(job.deps):
        return False
    # Folders are as their stages leave them, which are looked at themselves.
    same = all(Path(dep).is_dir() or _md5(dep) == recorded[dep] for dep in job.deps)
    return same and all(Path(out).exists() for out in job.outs)


def _within(path: str, made: set[str]) -> bool:
    """Whether a path, or something in that folder, is among those."""
    return path in made or any(one.startswith(f"{path}/") for one in made)


@cache
def _md5(path: str) -> str:
    if not Path(path).is_file():
        return ""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _read(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=_Loader)
