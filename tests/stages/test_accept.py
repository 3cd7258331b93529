"""Other code that gives the same results is recorded, and code that does not is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.__main__ import main
from harness.artifacts import store
from harness.artifacts.tables import PROBE
from harness.stages import accept, compare, extract, finetune, knn, probe, weights
from harness.stages.place import Place
from tests.stages.conftest import copied_pipeline


@pytest.fixture
def made(tiny: Place, monkeypatch: pytest.MonkeyPatch) -> tuple[Place, list[str]]:
    """The tiny profile, measured; and the stages that are recorded in dvc.lock."""
    copied_pipeline(Path())
    for stage in (weights, extract, knn, compare):
        for model in ("one", "two", "taught"):
            stage.run(tiny, model)
    recorded: list[str] = []
    monkeypatch.setattr(accept, "_commit", lambda _, stage: recorded.append(stage))
    return tiny, recorded


def test_a_stage_that_comes_out_the_same_is_recorded(made: tuple[Place, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    place, recorded = made
    finetune.run(place, "one")
    extract.run(place, "one_ft")
    knn.run(place, "one_ft")
    kept = {path: path.read_bytes() for path in Path("artifacts/tiny").rglob("*.safetensors")}
    for stage, model in (("knn", "two"), ("knn", "one_ft"), ("compare", "two"), ("weights", "taught"), ("finetune", "one")):
        assert main(["accept", stage, "--model", model]) == 0, stage
        assert f"{stage} of {model} comes out the same" in capsys.readouterr().out
    assert recorded == ["knn", "knn", "compare", "weights", "finetune"]
    assert {path: path.read_bytes() for path in kept} == kept
    assert place.path("fingerprints", "knn", ending=".json").is_file()
    record = json.loads(place.path("accepted", ending=".json").read_text())
    assert {stage: one["compared"] for stage, one in record.items()} == {
        "compare": "two",
        "finetune": "one",
        "knn": "one_ft",
        "weights": "taught",
    }
    assert all(one["largest"]["value"] == 0 for one in record.values())


@pytest.mark.parametrize(
    ("stage", "recorded"),
    [
        ("compare", ["compare", "compare_ft"]),
        ("weights", ["weights"]),
        ("pixels", ["pixels"]),
        ("detect", ["detect", "detect_deeper", "detect_by_block"]),
        ("detect_end_to_end", ["detect_end_to_end"]),
    ],
)
def test_what_has_a_fingerprint_of_its_own_is_not_recorded_with_another_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, recorded: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    copied_pipeline(Path())
    assert accept.targets(stage) == recorded


def test_a_stage_that_comes_out_otherwise_is_refused(
    made: tuple[Place, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, recorded = made
    votes = knn.votes

    def otherwise(*given: object) -> dict[str, np.ndarray]:
        found = votes(*given)
        return found | {"vote": (found["vote"] + 1) % 10}

    monkeypatch.setattr(knn, "votes", otherwise)
    before = place.path("knn", "one").read_bytes()
    assert main(["accept", "knn"]) == 12
    message = capsys.readouterr().err
    assert "artifacts/tiny/knn/one.safetensors: vote" in message
    assert recorded == []
    assert place.path("knn", "one").read_bytes() == before
    assert not place.path("accepted", ending=".json").exists()


@pytest.mark.parametrize(("factor", "code"), [(1.01, 0), (1.1, 12)])
def test_probes_are_compared_by_their_mean_accuracy_over_the_grid(
    made: tuple[Place, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], factor: float, code: int
) -> None:
    """One configuration more or less by chance is rounding, a tenth of all accuracies is not."""
    place, recorded = made
    probe.run(place, "one")
    path = place.path("probes", "one")
    held = store.read_arrays(path, PROBE)
    values = {name: np.array(array) for name, array in held.values.items()}
    values |= {"validation": (factor * values["validation"]).astype(np.float32), "best": values["best"][:, ::-1].copy()}
    store.write_arrays(path, PROBE, values, held.provenance)
    assert main(["accept", "probe", "--model", "one"]) == code
    assert recorded == (["probe"] if code == 0 else [])
    assert ("validation" in capsys.readouterr().err) == (code == 12)


def test_a_training_that_begins_otherwise_is_refused(
    made: tuple[Place, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.training import engine

    rate = engine.warmup_cosine
    monkeypatch.setattr(engine, "warmup_cosine", lambda *given: 30 * rate(*given))
    assert main(["accept", "weights", "--model", "taught"]) == 12
    assert "curves/taught" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), [(["accept", "cmpare"], "compare"), (["accept", "report"], "expected")])
def test_what_measures_nothing_is_refused(tiny: Place, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(words) == 12
    assert said in capsys.readouterr().err
