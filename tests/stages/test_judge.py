"""`python -m harness judge`: what it writes into params.yaml, what it runs, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from harness.__main__ import main
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import MissingArtifact
from harness.models.build import build
from harness.params.load import load_params
from harness.stages import judge
from harness.stages.place import Place

OPTIONS = {"img_size": 16, "patch_size": 4, "embed_dim": 64, "depth": 12, "num_heads": 4}


class Commands(list[list[str]]):
    """The commands that were run, after `python -m`; a code for dvc, 0 for the others."""

    code = 0

    def run(self, command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        assert command[:2] == [sys.executable, "-m"]
        self.append(command[2:])
        return subprocess.CompletedProcess(command, 0)

    def dvc(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        assert command[:2] == [sys.executable, "-m"]
        self.append(command[2:])
        lines = ["Stage 'extract@a' didn't change, skipping", "Running stage 'extract@b':"]
        code = f"import sys; print({chr(10).join(lines)!r}); sys.exit({self.code})"
        return subprocess_popen([sys.executable, "-c", code], **options)


subprocess_popen = subprocess.Popen


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """A folder with the project's params.yaml, where commands are kept and not run."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    found = Commands()
    monkeypatch.setattr(judge.subprocess, "run", found.run)
    monkeypatch.setattr(judge.subprocess, "Popen", found.dvc)
    return found


def saved(path: str, wrap: Any = lambda state: state) -> str:
    """A file of weights of the embedded ViT; its SHA-256."""
    torch.save(wrap(build("vit_tiny_patch16_224", **OPTIONS).state_dict()), path)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_file_becomes_an_entry_is_measured_and_decided(commands: Commands) -> None:
    before = Path("params.yaml").read_text()
    sha = saved("my-vit.pth")
    assert main(["judge", "my-vit.pth", "--architecture", "vit"]) == 0
    params = load_params(Path("params.yaml"))
    assert params.model("my_vit").architecture == "vit"
    assert params.model("my_vit").family is None
    assert params.weights("my_vit", "embedded").sha256 == sha
    assert params.of("embedded").models[-1] == "my_vit"
    verdicts = "artifacts/embedded/judged/my_vit.json"
    assert commands == [
        ["dvc", "repro"],
        ["pytest", "claims", "--source", "embedded", "--model", "my_vit", "--verdicts", verdicts],
    ]
    # All else stays to the letter: one line more, and one name in two lists.
    after = [line for line in Path("params.yaml").read_text().splitlines() if not line.startswith("  my_vit:")]
    changed = [(old, new) for old, new in zip(before.splitlines(), after, strict=True) if old != new]
    assert [new for _, new in changed] == [old.replace("]", ", my_vit]") for old, _ in changed]
    assert [old.split(":")[0].strip() for old, _ in changed] == ["models", "segmented"]
    assert params.of("embedded").segmented[-1] == "my_vit"


def test_a_network_without_patch_tokens_is_not_segmented(commands: Commands) -> None:
    params = load_params(Path("params.yaml"))
    known = params.of("embedded").architectures["resnet50"]
    torch.save(build(known.name, **known.options).state_dict(), "cnn.pth")
    assert main(["judge", "cnn.pth", "--architecture", "resnet50"]) == 0
    after = load_params(Path("params.yaml")).of("embedded")
    assert after.models[-1] == "cnn"
    assert "cnn" not in after.segmented


def test_a_second_time_it_goes_on_with_the_same_entry(commands: Commands) -> None:
    saved("mine.pth")
    assert main(["judge", "mine.pth", "--architecture", "vit"]) == 0
    written = Path("params.yaml").read_bytes()
    assert main(["judge", "mine.pth", "--architecture", "vit"]) == 0
    assert Path("params.yaml").read_bytes() == written
    assert len(commands) == 4


def test_other_weights_under_a_name_that_is_taken_are_refused(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    saved("mae.pth")
    assert main(["judge", "mae.pth", "--architecture", "vit"]) == 12
    assert "models.mae" in capsys.readouterr().err
    assert commands == []


@pytest.mark.parametrize(
    ("wrap", "told"),
    [
        (lambda state: {"model": state}, {"layout": "mae"}),
        (lambda state: {"state_dict": {f"module.base_encoder.{k}": v for k, v in state.items()}}, {"layout": "moco_v3"}),
        (lambda state: {"target_encoder": {f"module.{k}": v for k, v in state.items()}}, {"layout": "msn"}),
    ],
)
def test_a_known_layout_is_found(commands: Commands, wrap: Any, told: dict[str, str]) -> None:
    saved("mine.pth", wrap)
    assert main(["judge", "mine.pth", "--architecture", "vit"]) == 0
    entry = yaml.safe_load(Path("params.yaml").read_text())["models"]["mine"]["weights"]["embedded"]
    assert {key: entry[key] for key in entry if key not in ("file", "sha256")} == told


def test_another_layout_is_told_and_taken_from_the_command(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    saved("mine.pth", lambda state: {"teacher": {f"backbone.{k}": v for k, v in state.items()}})
    assert main(["judge", "mine.pth", "--architecture", "vit"]) == 12
    assert "key: teacher, prefix: backbone." in capsys.readouterr().err
    command = ["judge", "mine.pth", "--architecture", "vit", "--name", "ours", "--key", "teacher", "--prefix", "backbone."]
    assert main(command) == 0
    entry = yaml.safe_load(Path("params.yaml").read_text())["models"]["ours"]["weights"]["embedded"]
    assert (entry["key"], entry["prefix"]) == ("teacher", "backbone.")


def test_weights_of_timm_bring_their_network_and_are_fetched(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(judge, "fetch_all", lambda params, profile, models: fetched.append((profile, models)))
    params = load_params(Path("params.yaml"))
    place = Place(params, "embedded")
    assert judge.run(place, "vit_small_patch16_224.dino", None, None, None, None) == 0
    assert fetched == [("embedded", ["vit_small_patch16_224_dino"])]
    params = load_params(Path("params.yaml"))
    assert params.architecture("vit_small_patch16_224_dino", "embedded").name == "vit_small_patch16_224"
    assert params.weights("vit_small_patch16_224_dino", "embedded").timm == "vit_small_patch16_224.dino"


def test_stages_that_run_are_told_and_those_that_do_not_are_not(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    saved("mine.pth")
    main(["judge", "mine.pth", "--architecture", "vit"])
    told = capsys.readouterr().err
    assert "Running stage 'extract@b'" in told
    assert "extract@a" not in told


def test_what_is_not_measured_is_not_decided(commands: Commands) -> None:
    saved("mine.pth")
    commands.code = 255
    assert main(["judge", "mine.pth", "--architecture", "vit"]) == 255
    assert [command[0] for command in commands] == ["dvc"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere.pth", "--architecture", "vit"], "nowhere.pth"),
        (["mine.pth"], "--architecture"),
        (["mine.pth", "--architecture", "vit_tini_patch16_224"], "vit_tiny_patch16_224"),
        (["mine.pth", "--architecture", "vit_base_patch16_224"], "backbone"),
        (["mine.pth", "--architecture", "vit", "--profile", "laptop"], r"profile: *laptop"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    commands: Commands, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    saved("mine.pth")
    before = Path("params.yaml").read_bytes()
    assert main(["judge", *arguments]) in (12, 13)
    assert expected in capsys.readouterr().err
    assert Path("params.yaml").read_bytes() == before
    assert commands == []


def test_a_file_laid_out_otherwise_is_left_alone(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    saved("mine.pth")
    text = Path("params.yaml").read_text()
    start = text.index("      models: [")
    end = text.index("]", start)
    Path("params.yaml").write_text(text[:start] + text[start:end].replace(", ", ",\n        ") + text[end:])
    before = Path("params.yaml").read_bytes()
    assert main(["judge", "mine.pth", "--architecture", "vit"]) == 12
    assert "by hand" in capsys.readouterr().err
    assert Path("params.yaml").read_bytes() == before


def test_from_python_the_verdicts_come_back_with_the_family_first(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    saved("mine.pth")
    rows = [{"id": "kinship/cka", "rank": "second"}, {"id": "family", "rank": "main"}]

    def run(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        if "--verdicts" in command:
            path = Path(command[-1])
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(rows))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(judge.subprocess, "run", run)
    assert [row["id"] for row in judge.judge("mine.pth", "vit")] == ["family", "kinship/cka"]
    # A second time, when the entry is there already.
    Path("artifacts/embedded/judged/mine.json").unlink()
    Path("artifacts/embedded/judged").rmdir()
    assert [row["id"] for row in judge.judge("mine.pth", "vit")] == ["family", "kinship/cka"]


def test_from_python_a_failed_measurement_is_an_error(commands: Commands) -> None:
    saved("mine.pth")
    commands.code = 1
    with pytest.raises(MissingArtifact, match="exit code 1"):
        judge.judge("mine.pth", "vit")
