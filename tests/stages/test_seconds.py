"""How long stages took: what is kept of a run, and what a plan says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import __main__
from harness.__main__ import main
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.params.load import load_params
from harness.stages import pipeline, plan, seconds
from harness.stages.place import Place


def command(*words: str) -> str:
    return " ".join(("python", "-m", "harness", *words))


def test_minutes_are_those_of_the_last_runs_of_any_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert seconds.told([command("knn", "--profile", "tiny", "--model", "one")]) == ""
    for taken in (900.0, 100.0):
        seconds.keep(["knn", "--profile", "tiny", "--model", "one"], taken)
    seconds.keep(["report", "--profile", "tiny"], 15.0)
    asked = [command("knn", "--profile", "tiny", "--model", name) for name in ("two", "three")]
    assert seconds.told(asked) == "about 4 min, as they took here last time"
    further = [*asked, command("report", "--profile", "tiny"), command("sweep", "--profile", "tiny")]
    assert seconds.told(further) == "about 4 min, as they took here last time, beside sweep, not run here so far"
    # Another profile and another layer take another time, and so does another model's training.
    assert seconds.told([command("knn", "--profile", "laptop", "--model", "two")]) == ""
    seconds.keep(["weights", "--profile", "tiny", "--model", "random"], 2.0)
    assert seconds.told([command("weights", "--profile", "tiny", "--model", "mae")]) == ""


def test_a_stage_that_ran_is_kept_under_what_dvc_calls_it(tiny: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["weights", "--model", "one"], ["extract", "--model", "one"], ["check"]):
        assert main(words) == 0
    kept = seconds._read()
    assert sorted(kept) == ["extract --profile tiny", "weights --profile tiny --model one"]
    assert all(value >= 0 for value in kept.values())


def test_every_command_of_the_pipeline_is_what_its_run_is_kept_under(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = [job for job in pipeline.jobs(load_params(Path("params.yaml")).of("embedded")) if job.stage != "check"]
    assert len(found) > 200
    for job in found:
        words = job.command.split()[3:]
        assert __main__._called(__main__._parser().parse_args(words), "embedded") == words


def test_a_plan_says_how_long_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seconds.keep(["check", "--profile", "embedded"], 1.0)
    job = pipeline.Job("knn@embedded-mae", {}, command("knn", "--profile", "embedded", "--model", "mae"), (), ())
    monkeypatch.setattr(plan, "stale", lambda _: [job, job])
    place = Place(load_params(ROOT / "params.yaml"), "embedded")
    assert plan.told(place) == "dvc repro runs at most 2 stages: knn of 2"
    seconds.keep(["knn", "--profile", "embedded", "--model", "dino"], 61.0)
    assert plan.told(place) == "dvc repro runs at most 2 stages: knn of 2; about 3 min, as they took here last time"


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seconds.KEPT.parent.mkdir()
    for text in ("[1]", "{", '{"knn": "long"}'):
        seconds.KEPT.write_text(text)
        with pytest.raises(InvalidInput, match=r"(?s)seconds\.json.*remove it"):
            seconds.told([command("knn")])
