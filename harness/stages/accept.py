"""Accept: record results under changed code that gives the same numbers, after measuring one model of the stage again."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from harness.artifacts import files, shipped
from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays, Table
from harness.params.models import FINETUNED, start_of
from harness.params.profile import END_TO_END
from harness.params.wording import nearest
from harness.stages import check, pipeline, verify
from harness.stages.device import chosen_device
from harness.stages.place import Place
from harness.stages.verify import Difference
from harness.training.diffusion import KEPT_EVERY

# What a detector reads whose results are compared, by stage.
LAYERS = {"detect": "final", "detect_end_to_end": END_TO_END}
# Trainings are held against their curve up to its first row: epochs, and steps of a generator.
UNTIL = {"weights": 2, "finetune": 1, "generate": KEPT_EVERY}
CURVES = {"curves", "losses"}
# Another device draws other views: the loss of a first epoch differs by a third of a hundredth.
LOSS = 0.01
RECORD = "accepted"
# Probes at large rates are chaotic: rounding moves one by 1.4 points of accuracy, the mean over the grid by 1.3 % of itself.
GRID = 0.03


def run(place: Place, stage: str, model: str | None) -> None:
    """Measure one model of a stage again and compare. Where the numbers are the same, record all results of the stage under the
    present code: in the fingerprints, in dvc.lock, and in accepted.json, which keeps what was compared.

    Of a training the loss of the first epochs or steps is compared, of probes their mean accuracy over the grid.
    Raises InvalidInput for a stage that measures nothing, and for a result that differs by more than rounding.
    """
    known = ["weights", *(name for name in check.STAGES if name not in ("references", "report"))]
    if stage not in known:
        raise InvalidInput("command line", field="accept", seen=stage, expected=nearest(stage, known))
    chosen = model or _smallest(place, stage)
    made, old = _measured(place, stage, chosen)
    differences = [one for name in made for one in _apart(name, made[name], old[name])]
    verify.refuse_other_numbers(place, differences)
    worst = max(differences, key=lambda one: one.value / one.limit)
    check.run(place)
    _record(place, stage, chosen, worst)
    _commit(place, stage)
    apart = f"{worst.array} of {worst.artifact} is most apart, by {worst.value:.1e} where {worst.limit:g} is rounding"
    print(f"{stage} of {chosen or place.profile} comes out the same: {apart}")
    print(f"all results of {stage} are recorded as those of the code as it is now")


def outputs(place: Place, stage: str, model: str | None) -> list[Path]:
    """The outputs of a stage for a model, with the first token or layers of the profile."""
    named = {(stage, model), (f"{stage}{_tuned(model)}", start_of(model) if model else None)}
    return next(
        [Path(out) for out in job.outs] for job in pipeline.jobs(place.settings) if (job.stage, job.about.get("m")) in named
    )


def _token(place: Place) -> str:
    """The first token that scenes are sampled from; without one the stage has no results to accept."""
    return next(iter(place.settings.generated), "")


def _tuned(model: str | None) -> str:
    return FINETUNED if model is not None and model != start_of(model) else ""


def _smallest(place: Place, stage: str) -> str | None:
    """The model whose results are compared by default: the first of the stage."""
    if stage in ("pixels", "sweep", "generate"):
        return None
    settings = place.settings
    lists = {"detect": settings.detected, "detect_end_to_end": settings.detected_end_to_end}
    lists |= {"segment": settings.segmented, "sample": settings.sampled}
    lists |= dict.fromkeys(("finetune", "drift", "line"), settings.finetuned)
    models = lists.get(stage, settings.models)
    if not models or (stage == "sample" and not settings.generated):
        expected = f"models, among those that the profile names for {stage}"
        raise InvalidInput("params.yaml", field=f"profiles.{place.profile}", seen="none", expected=expected)
    return models[0]


def _measured(place: Place, stage: str, model: str | None) -> tuple[dict[str, Arrays | Table], dict[str, Arrays | Table]]:
    """A stage's artifacts of a model by name: measured again, and as they are on disk."""
    module = importlib.import_module(check.STAGES[stage][0] if stage in check.STAGES else f"harness.stages.{stage}")
    # Two stages share the module of k-NN.
    call = module.pixels if stage == "pixels" else module.run
    given = {"device": chosen_device(), "token": _token(place), "layers": LAYERS.get(stage)}
    options: dict[str, Any] = {name: value for name, value in given.items() if name in inspect.signature(call).parameters}
    options |= {"until": UNTIL[stage]} if stage in UNTIL else {}
    root = place.path("", ending="")
    paths = [path for path in outputs(place, stage, model) if stage not in UNTIL or CURVES & {*path.parts}]
    names = [str(path.relative_to(root).with_suffix("")) for path in paths]
    old = {name: shipped.read(path) for name, path in zip(names, paths, strict=True)}
    with _beside(place, outputs(place, stage, model)):
        call(place, *([model] if model else []), **options)
        made = {name: shipped.read(path) for name, path in zip(names, paths, strict=True)}
        for name, artifact in made.items():
            # Mapped files are read before their folder goes.
            if isinstance(artifact, Arrays):
                made[name] = Arrays({k: np.array(v) for k, v in artifact.values.items()}, artifact.provenance, "")
    return made, old


@contextmanager
def _beside(place: Place, made: list[Path]) -> Iterator[None]:
    """Work in a folder with everything of this one except the outputs of a stage."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="accept-") as name:
        folder = Path(name)
        for path in ("params.yaml", "data", "images", "weights"):
            if Path(path).exists():
                (folder / path).symlink_to(here / path)
        for path in place.path("", ending="").rglob("*"):
            if path.is_file() and path not in made:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).symlink_to(here / path)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)
            shutil.rmtree(folder / ".scratch", ignore_errors=True)


def _apart(name: str, made: Arrays | Table, old: Arrays | Table) -> Iterator[Difference]:
    if isinstance(made, Arrays) and isinstance(old, Arrays) and "holdout" in made.values:
        means = [{key: np.nanmean(of[key], axis=1) for key in ("holdout", "validation")} for of in (made, old)]
        yield from (one._replace(limit=GRID) for one in verify.apart(name, *means))
        exact = [{key: of[key] for key in ("sets", "configurations", "label", "coded")} for of in (made, old)]
        yield from verify.apart(name, *exact)
        return
    if isinstance(made, Arrays) and isinstance(old, Arrays):
        yield from verify.apart(name, made.values, old.values)
        return
    assert isinstance(made, Table)
    assert isinstance(old, Table)
    # A curve of the first epochs is held against as many rows; one vote in its k-NN is more than rounding.
    columns = [column for column in made.rows if made.rows[column].dtype != object and not column.startswith("knn_")]
    rows = {column: made.rows[column].to_numpy() for column in columns}
    there = {column: old.rows[column].to_numpy()[: len(made.rows)] for column in rows}
    yield from (one._replace(limit=LOSS) for one in verify.apart(name, rows, there))


def _record(place: Place, stage: str, model: str | None, worst: Difference) -> None:
    """Keep what was compared, the newest of each stage."""
    path = place.path(RECORD, ending=".json")
    kept = json.loads(path.read_text()) if path.is_file() else {}
    kept[stage] = {"compared": model or place.profile, "largest": worst._asdict()}
    files.write_bytes(path, f"{json.dumps(kept, indent=1, sort_keys=True)}\n".encode())


def targets(stage: str) -> list[str]:
    """The names of stages that depend on a stage's fingerprint: it, and it with fine-tuned models or other blocks."""
    # Weights have a fingerprint for each model, in a folder.
    own = re.compile(rf"/fingerprints/{stage}[./]")
    return [name for name, one in pipeline.stages().items() if any(own.search(dep) for dep in one["deps"])]


def _commit(place: Place, stage: str) -> None:
    """Record the present files of the stage and of the fingerprints in dvc.lock."""
    from dvc.repo import Repo

    with Repo(".") as repo:
        for target in ("check", *targets(stage)):
            repo.commit(pipeline.address(target), force=True)
