"""What dvc repro is said to run, against what dvc knows and after edits whose stages are known."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

from harness.artifacts.closure import ROOT
from harness.params.load import load_params
from harness.stages import pipeline, plan
from harness.stages.place import Place
from tests.stages.conftest import copied_pipeline


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The project's pipeline over links to its artifacts, with fingerprints and references that may be edited."""
    copied_pipeline(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
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


def test_every_job_has_the_name_that_dvc_gives_it(project: Place) -> None:
    locked, found = pipeline.recorded(), list(pipeline.jobs(project.settings))
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


def test_without_locks_everything_runs(project: Place) -> None:
    for path in pipeline.FILES:
        path.with_suffix(".lock").unlink()
    assert len(plan.stale(project)) == len(list(pipeline.jobs(project.settings))) - 1


def test_stages_of_the_root_and_of_other_files_are_called_as_dvc_calls_them(project: Place) -> None:
    with Repo.init(no_scm=True) as repo:
        known = {stage.addressing.partition("@")[0] for stage in repo.index.stages}
    assert {pipeline.address(name) for name in pipeline.stages()} == known


# dvc calls pygtrie in a way that this calls deprecated.
@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
@pytest.mark.parametrize("profile", ["embedded", "laptop", "paper"])
def test_dvc_repro_reaches_every_stage(project: Place, profile: str) -> None:
    """It runs the stages of the root's file and what they depend on, whatever lists of a profile are empty."""
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("profile: *embedded", f"profile: *{profile}"))
    with Repo.init(no_scm=True) as repo:
        reached = plan_repro(get_active_graph(repo.index.graph), collect_stages(repo, ["dvc.yaml"]))
        assert set(reached) == set(repo.index.stages)
    assert len(reached) == len(list(pipeline.jobs(project.params.of(profile))))


def test_no_lock_is_so_large_that_dvc_takes_seconds_for_it() -> None:
    assert max((ROOT / path.with_suffix(".lock")).stat().st_size for path in pipeline.FILES) < 80_000
