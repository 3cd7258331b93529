"""Plan: the stages that `dvc repro` is about to run, from what has changed so far."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.params.models import FINETUNED
from harness.stages import pipeline, seconds
from harness.stages.pipeline import Job
from harness.stages.place import Place


def stale(place: Place) -> list[Job]:
    """In the pipeline's order, the jobs that dvc would run after `check`: another command or dependency than dvc.lock has, a
    missing output, or an input that one of these makes. A job whose input is made again the same is not run after all: that is
    known of the references' hashes alone.
    """
    known = pipeline.recorded()
    every = [job for job in pipeline.jobs(place.settings) if job.stage != "check"]
    run = {job.name for job in every if not _stands(job, known.get(job.name, {}))}
    made = {out for job in every if job.name in run for out in job.outs}
    # The pipeline is not in the order of its graph.
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


def _hashes_stay(job: Job, place: Place, made: set[str]) -> bool:
    """Whether a job writes hashes of files none of which is made again; others in their folder leave its output as it is."""
    if not job.stage.startswith("references"):
        return False
    compared = place.params.compared_with(place.profile, finetuned=job.stage.endswith(FINETUNED))
    folder = next(dep for dep in job.deps if not dep.endswith(".json"))
    names = place.settings.sampled if Path(folder).name == "checkpoints" else compared
    return not {f"{folder}/{name}.safetensors" for name in names} & made


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
