"""What dvc repro is said to run, against what dvc knows and after edits whose stages are known."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from harness.artifacts.closure import ROOT
from harness.params.load import load_params
from harness.stages import plan
from harness.stages.place import Place


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The project's pipeline over links to its artifacts, with fingerprints and references that may be edited."""
    for name in ("dvc.yaml", "dvc.lock", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    folder = tmp_path / "artifacts" / "embedded"
    folder.mkdir(parents=True)
    for path in (ROOT / "artifacts" / "embedded").iterdir():
        if path.name in ("fingerprints", "knn"):
            shutil.copytree(path, folder / path.name)
        else:
            (folder / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    plan._md5.cache_clear()
    return Place(load_params(Path("params.yaml")), "embedded")


def test_every_job_has_the_name_that_dvc_gives_it() -> None:
    stages, locked = (yaml.safe_load((ROOT / name).read_text())["stages"] for name in ("dvc.yaml", "dvc.lock"))
    found = list(plan.jobs(stages, load_params(ROOT / "params.yaml").of("embedded")))
    assert sorted(job.name for job in found) == sorted(locked)
    for job in found:
        assert job.command == locked[job.name]["cmd"]
        assert set(job.deps) == {dep["path"] for dep in locked[job.name]["deps"]}
        assert set(job.outs) == {out["path"] for out in locked[job.name]["outs"]}


def test_nothing_is_to_run_where_everything_is_as_it_was_recorded(project: Place) -> None:
    assert plan.told(project) == "dvc repro has nothing to run: all results are up to date"


def test_a_changed_parameter_of_a_stage_runs_it_for_all_models_and_what_reads_it(project: Place) -> None:
    path = Path("artifacts/embedded/fingerprints/knn.json")
    path.write_text(path.read_text().replace('"k": 20', '"k": 10'))
    settings = project.settings
    count = Counter(job.stage for job in plan.stale(project))
    assert count == {"knn": len(settings.models), "knn_ft": len(settings.finetuned), "report": 1}
    runs = sum(count.values())
    assert plan.told(project) == f"dvc repro runs at most {runs} stages: knn of {len(settings.models)}, knn_ft of 10, report"


def test_a_missing_output_is_made_again_and_what_is_made_of_it(project: Place) -> None:
    Path("artifacts/embedded/knn/mae.safetensors").unlink()
    assert [job.name for job in plan.stale(project)] == ["knn@embedded-mae", "report@embedded"]


def test_an_added_model_runs_its_own_stages_and_no_comparison_of_others(project: Place) -> None:
    settings = project.settings.model_copy(update={"models": (*project.settings.models, "mine")})
    params = project.params.model_copy(update={"profiles": project.params.profiles | {"embedded": settings}})
    names = {job.name for job in plan.stale(Place(params, "embedded"))}
    own = {name for name in names if name.endswith("-mine")}
    assert own == {
        f"{stage}@embedded-mine" for stage in ("weights", "extract", "compare", "knn", "probe", "agree", "invariance")
    }
    again = {f"references@embedded-{kind}" for kind in ("summaries", "probes", "checkpoints")}
    assert names - own == again | {"references_ft@embedded-summaries", "report@embedded"}


def test_a_changed_reference_makes_every_comparison_with_it_stale(project: Place) -> None:
    path = Path("artifacts/embedded/fingerprints/weights/mae.json")
    changed = re.sub(r'"epochs": \d+', '"epochs": 1', path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    count = Counter(job.stage for job in plan.stale(project))
    assert (count["weights"], count["extract"], count["compare"]) == (1, 1, len(project.settings.models))
    assert count["compare_ft"] == len(project.settings.finetuned)


def test_without_a_lock_everything_runs(project: Place) -> None:
    Path("dvc.lock").unlink()
    every = list(plan.jobs(yaml.safe_load(Path("dvc.yaml").read_text())["stages"], project.settings))
    assert len(plan.stale(project)) == len(every) - 1
