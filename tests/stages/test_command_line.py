"""Exit codes and messages of `python -m harness`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.__main__ import COMMANDS, STAGES, main
from harness.stages.place import Place
from tests.stages.conftest import TINY


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(list(arguments))
    return code, capsys.readouterr().err


@pytest.mark.usefixtures("tiny")
def test_a_misspelt_model_exits_12_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, message = outcome(capsys, "weights", "--model", "taugt")
    assert code == 12
    assert "params.yaml: models" in message
    assert "taught?" in message
    assert "Traceback" not in message


@pytest.mark.usefixtures("tiny")
def test_a_missing_model_or_unknown_profile_exits_12(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(capsys, "extract")[0] == 12
    code, message = outcome(capsys, "extract", "--profile", "tinny", "--model", "one")
    assert (code, "tiny?" in message) == (12, True)


@pytest.mark.usefixtures("tiny")
def test_a_missing_artifact_exits_13_and_says_what_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, message = outcome(capsys, "extract", "--model", "one")
    assert code == 13
    assert "artifacts/tiny/checkpoints/one.safetensors" in message
    assert "dvc repro" in message


def test_no_parameters_exit_13(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert outcome(capsys, "extract", "--model", "one")[0] == 13


@pytest.mark.usefixtures("tiny")
def test_a_device_that_is_not_there_exits_14(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HARNESS_DEVICE", "cuda:77")
    code, message = outcome(capsys, "knn", "--model", "one")
    assert (code, "cuda:77" in message) == (14, True)


@pytest.mark.usefixtures("tiny")
def test_out_of_memory_exits_14(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("harness.stages.compare.run", exhausted)
    assert outcome(capsys, "compare", "--model", "one")[0] == 14


@pytest.mark.usefixtures("tiny")
def test_debug_shows_the_traceback() -> None:
    with pytest.raises(Exception, match="missing"):
        main(["extract", "--model", "one", "--debug"])


def test_a_released_file_that_is_not_there_exits_13(tiny: Place, capsys: pytest.CaptureFixture[str]) -> None:
    raw = dict(TINY)
    weights = {"tiny": {"file": "weights/none.pth", "layout": "mae", "sha256": ""}}
    raw["models"] = TINY["models"] | {"one": {"family": "rec", "architecture": "vit", "weights": weights}}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    code, message = outcome(capsys, "weights", "--profile", tiny.profile, "--model", "one")
    assert (code, "weights/none.pth" in message) == (13, True)


def test_a_profile_without_its_images_exits_13_and_says_what_to_set(tiny: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(capsys, "weights", "--model", "one")[0] == 0
    raw = dict(TINY)
    profile = TINY["profiles"]["tiny"] | {"data": {"kind": "reader", "reader": "", "root": "", "size": 16}}
    raw |= {"profiles": {"tiny": profile}, "profile": profile}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    code, message = outcome(capsys, "extract", "--profile", tiny.profile, "--model", "one")
    assert code == 13
    assert "profiles.<profile>.data.root" in message


def test_check_answers_an_unknown_profile_with_the_nearest_one(tiny: Place, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = outcome(capsys, "check", "--profile", "tyny")
    assert (code, "seen: tyny" in message, "expected: tiny?" in message) == (12, True, True)
    assert not Path("artifacts").exists()
    assert outcome(capsys, "check")[0] == 0
    assert tiny.path("fingerprints", "knn", ending=".json").is_file()


@pytest.mark.parametrize("command", [*STAGES, *COMMANDS])
def test_every_command_explains_itself_and_its_own_arguments(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    known = (STAGES | COMMANDS)[command]
    assert known.help[1:] in said
    assert f"python -m harness {command} " in said
    for option in ("model", "kind"):
        assert (f"--{option} " in said) == (option in known.needs)
    assert ("--profile" in said) == (command != "diff")
    assert ("A stage of dvc.yaml" in said) == (command in STAGES)


def test_the_list_of_commands_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    for name, command in (STAGES | COMMANDS).items():
        assert f"{name} {command.help}" in said


def test_what_a_command_does_not_take_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["sweep", "--model", "one"])
    assert caught.value.code == 2
    assert "--model" in capsys.readouterr().err
