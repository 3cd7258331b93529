"""The files of dvc say what the stages really read: code, parameters and artifacts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from harness.__main__ import STAGES
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.models.tokens import LAYERS
from harness.params.load import load_params
from harness.params.models import FINETUNED, start_of
from harness.params.params import Params
from harness.params.profile import END_TO_END
from harness.stages import check, pipeline

FILES: dict[Path, dict[str, Any]] = {path: yaml.safe_load((ROOT / path).read_text()) for path in pipeline.FILES}
DVC = {"stages": {name: stage for file in FILES.values() for name, stage in file["stages"].items()}}


def test_every_file_of_dvc_is_known_and_its_stages_run_in_the_root() -> None:
    """A stage in two files would be known by one of them alone."""
    found = [*ROOT.glob("dvc.yaml"), *ROOT.glob("[!.]*/**/dvc.yaml")]
    assert {path.relative_to(ROOT) for path in found} == set(FILES)
    assert sum(len(file["stages"]) for file in FILES.values()) == len(DVC["stages"])
    for path, file in FILES.items():
        if path.parent != Path():
            assert file["vars"] == ["../../params.yaml"]
            assert {stage["wdir"] for stage in file["stages"].values()} == {"../.."}


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "check"])
def test_a_stage_depends_on_its_fingerprint_and_on_no_code(stage: str) -> None:
    deps = DVC["stages"][stage]["deps"]
    own = "weights/${item.m}" if stage == "weights" else stage
    assert [dep for dep in deps if "fingerprints" in dep] == [f"artifacts/${{item.p}}/fingerprints/{own}.json"]
    assert not [dep for dep in deps if not dep.startswith("artifacts/")]
    assert "params" not in DVC["stages"][stage]


def test_the_fingerprints_are_made_of_all_code_and_all_parameters() -> None:
    assert DVC["stages"]["check"]["deps"] == ["harness", "params.yaml"]
    assert set(check.STAGES) == {name for name in STAGES if name not in ("check", "weights")} | {TRAINED}
    assert all(check.STAGES[name][0] == STAGES[name.removesuffix("_end_to_end")].module for name in check.STAGES)


# The stage detect again, for other lists of models. The last one has parameters of its own.
TRAINED = "detect_end_to_end"
DETECTORS = ("detect_deeper", "detect_by_block", TRAINED)


def test_every_stage_of_the_command_line_is_in_a_file_of_dvc_and_the_other_way_round() -> None:
    named = [[name for name in file["stages"] if name == start_of(name) and name not in DETECTORS] for file in FILES.values()]
    assert {name for names in named for name in names} == set(STAGES)
    for names in named:
        assert names == [name for name in STAGES if name in names]


def test_stages_of_other_detectors_are_that_of_frozen_final_blocks_but_for_layers_and_models() -> None:
    first = DVC["stages"]["detect"]
    assert first["matrix"]["l"] == ["final"]
    named = [layers for name in DETECTORS for layers in DVC["stages"][name]["matrix"]["l"]]
    assert {"final", *named} == {*LAYERS, END_TO_END}
    for name in DETECTORS:
        stage = DVC["stages"][name]
        own = name if name == TRAINED else "detect"
        assert all(stage[key] == first[key] for key in ("cmd", "outs"))
        assert stage["deps"] == [dep.replace("/detect.json", f"/{own}.json") for dep in first["deps"]]
        assert stage["matrix"]["m"] == f"${{profile.{name.replace('detect', 'detected')}}}"


def test_stages_of_fine_tuned_models_are_those_of_the_others_but_for_the_names() -> None:
    tuned = {name: stage for name, stage in DVC["stages"].items() if name != start_of(name)}
    assert sorted(tuned) == ["compare_ft", "extract_ft", "invariance_ft", "knn_ft", "probe_ft", "references_ft"]
    for name, stage in tuned.items():
        first = DVC["stages"][start_of(name)]
        assert (first["vars"], stage["vars"]) == ([{"ft": ""}], [{"ft": FINETUNED}])
        assert all(stage[key] == first[key] for key in ("cmd", "deps", "outs"))
        if "m" in stage["matrix"]:
            assert stage["matrix"] | {"m": "${profile.models}"} == first["matrix"]
            assert stage["matrix"]["m"] == "${profile.finetuned}"


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_names_its_stage_and_everything_it_is_about(stage: str) -> None:
    command = DVC["stages"][stage]["cmd"].split()
    assert command[:4] == ["python", "-m", "harness", stage]
    expected = ["--profile", *(f"--{name}" for name in STAGES[stage].needs)]
    assert [word for word in command if word.startswith("--")] == expected


def each(stage: dict[str, Any], path: str) -> list[str]:
    """A path of a stage that exists once for each kind of artifact, of fine-tuned models with that in its name."""
    path = path.replace("${ft}", stage.get("vars", [{"ft": ""}])[0]["ft"])
    return [path.replace("${item.k}", kind) for kind in stage["matrix"].get("k", [""])]


def test_every_artifact_that_a_stage_depends_on_is_made_by_a_stage() -> None:
    stages = DVC["stages"].values()
    outs = [(stage, next(iter(out)) if isinstance(out, dict) else out) for stage in stages for out in stage["outs"]]
    made = {path for stage, out in outs for path in each(stage, out)}
    folders = {str(Path(path).parent) for path in made}
    fingerprints = "artifacts/${item.p}/fingerprints"
    assert fingerprints in made
    for stage in stages:
        read = [path for dep in stage["deps"] if dep.startswith("artifacts/") for path in each(stage, dep)]
        # A sweep model is some model.
        general = {re.sub(r"\$\{profile\.sweep_models\[\d+\]\}", "${item.m}", path) for path in read}
        assert {path for path in general if not path.startswith(f"{fingerprints}/")} <= made | folders


@pytest.mark.parametrize(("stage", "kind"), [("compare", "summaries"), ("agree", "probes")])
def test_a_comparison_depends_on_the_references_and_on_no_other_model(stage: str, kind: str) -> None:
    read = [dep.removeprefix("artifacts/${item.p}/") for dep in DVC["stages"][stage]["deps"] if "fingerprints" not in dep]
    ft = "${ft}" if "vars" in DVC["stages"][stage] else ""
    assert read == sorted([f"{kind}/${{item.m}}{ft}.safetensors", f"references/{kind}{ft}.json"])


def test_results_are_committed_and_banks_are_no_results() -> None:
    for name, stage in DVC["stages"].items():
        for out in stage["outs"]:
            path = out if isinstance(out, str) else next(iter(out))
            # A summary that still stands is left where it lies.
            kept = {"cache": False, "persist": True} if "/summaries/" in path else {"cache": False}
            assert "/banks/" not in path
            assert out == {path: kept}, name


@pytest.fixture
def overridden(tmp_path: Path) -> Callable[..., Params]:
    """The project's parameters as `dvc exp run -S` leaves them, by DVC's own function."""
    path = tmp_path / "params.yaml"

    def override(*settings: str) -> Params:
        shutil.copy(ROOT / "params.yaml", path)
        apply_overrides(str(path), list(settings))
        comments = [[line.strip() for line in text.splitlines() if line.strip().startswith("#")] for text in texts(path)]
        assert comments[0] == comments[1]
        return load_params(path)

    return override


def texts(path: Path) -> tuple[str, str]:
    return (ROOT / "params.yaml").read_text(), path.read_text()


def test_an_experiment_changes_a_number_of_the_profile(overridden: Callable[..., Params]) -> None:
    known, before = overridden("profiles.embedded.knn.k=10"), load_params(ROOT / "params.yaml")
    assert (known.profile, known.of("embedded").knn.k, before.of("embedded").knn.k) == ("embedded", 10, 20)
    assert known.of("embedded").model_dump(exclude={"knn"}) == before.of("embedded").model_dump(exclude={"knn"})
    assert known.models == before.models


def test_an_experiment_changes_the_recipe_of_all_runs_of_a_model_at_once(overridden: Callable[..., Params]) -> None:
    known, before = overridden("models.moco_v3.weights.embedded.epochs=41"), load_params(ROOT / "params.yaml")
    changed = [name for name in known.models if known.models[name] != before.models[name]]
    assert changed == ["moco_v3", "moco_v3_1", "moco_v3_2"]
    recipes = [known.weights(name, "embedded") for name in changed]
    assert [(recipe.epochs, recipe.seed) for recipe in recipes] == [(41, 0), (41, 1), (41, 2)]


@pytest.mark.parametrize("setting", ["profiles.embedded.segmented=[mae]", "profile.models=[mae,dino]", "profile.name=laptop"])
def test_an_experiment_whose_change_would_be_lost_is_refused(overridden: Callable[..., Params], setting: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        overridden(setting)
    assert refused.value.field.startswith("profile")
    assert "alias" in str(refused.value.expected)
