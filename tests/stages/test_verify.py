"""What ships is whole, is made from what ships beside it, and is what the code gives here; every other thing is refused."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from harness.__main__ import main
from harness.artifacts import shipped, store
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import CKA, KNN, SUMMARY
from harness.params.load import load_params
from harness.stages import agree, compare, extract, invariance, knn, pipeline, probe, report, verify, weights
from harness.stages.place import Place
from tests.stages.conftest import TINY

EMBEDDED = Path("artifacts/embedded")


@dataclass
class Measured:
    place: Place
    folder: Path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """The tiny profile, all of it that is verified."""
    folder = tmp_path_factory.mktemp("verified")
    profile = TINY["profiles"]["tiny"] | {"finetuned": []}
    raw = {"models": TINY["models"], "profiles": {"tiny": profile}, "profile": profile}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        place = Place(load_params(Path("params.yaml")), "tiny")
        for stage in (weights, extract, knn, probe, compare, invariance, agree):
            for model in place.settings.models:
                stage.run(place, model)
        knn.pixels(place)
        report.run(place)
    return Measured(place, folder)


@pytest.fixture
def tiny_measured(measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy of it, without banks, as a clone has it."""
    shutil.copytree(measured.folder, tmp_path / "clone", ignore=shutil.ignore_patterns("banks"))
    monkeypatch.chdir(tmp_path / "clone")
    return measured.place


def test_what_was_measured_here_is_verified(tiny_measured: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    out = capsys.readouterr().out
    # Of three models a checkpoint, a curve, a summary, votes, probes, invariance and four kinds of comparisons, and the
    # pixels.
    assert "31 artifacts are whole" in out
    assert "one, two: one forward each" in out
    found = shipped.read_all(Path("artifacts/tiny"))
    assert shipped.refuse_other_inputs(Path("artifacts/tiny"), found) == sum(len(a.provenance.inputs) for a in found.values())
    differences = list(verify.measured(tiny_measured, ("one", "two")))
    kinds = {one.artifact.split("/")[0] for one in differences}
    assert kinds == {"summaries", "knn", "cka", "similarity", "final"}
    assert max(one.value for one in differences) == 0


def rewrite(place: Place, kind: str, model: str, change: Callable[[dict[str, np.ndarray]], None], **provenance: object) -> None:
    """Another artifact in the place of one, whole in itself."""
    schema = {"cka": CKA, "knn": KNN, "summaries": SUMMARY}[kind]
    read = store.read_pairs if kind == "cka" else store.read_arrays
    old = read(place.path(kind, model), schema)
    made = old.provenance.model_copy(update=provenance)
    if kind == "cka":
        pairs = {name: {k: np.array(v) for k, v in old.of(name).values.items()} for name in old.references}
        change(pairs["one"])
        store.write_pairs(place.path(kind, model), schema, pairs, made)
        return
    values = {name: np.array(array) for name, array in old.values.items()}
    change(values)
    store.write_arrays(place.path(kind, model), schema, values, made)


def scaled(name: str, factor: float) -> Callable[[dict[str, np.ndarray]], None]:
    def change(values: dict[str, np.ndarray]) -> None:
        values[name] = (values[name] * factor).astype(values[name].dtype)

    return change


def voted_otherwise(values: dict[str, np.ndarray]) -> None:
    values["vote"] = (values["vote"] + 1) % 10


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        ("cka", scaled("self_b", 1.01), "self_b with one"),
        ("cka", scaled("each", 0.9), "each with one"),
        ("knn", voted_otherwise, "vote"),
        ("summaries", scaled("rms", 1.01), "rms"),
    ],
)
def test_numbers_that_the_code_does_not_give_are_refused(
    tiny_measured: Place, kind: str, change: Callable[[dict[str, np.ndarray]], None], field: str
) -> None:
    rewrite(tiny_measured, kind, "two", change)
    with pytest.raises(InvalidInput) as refused:
        verify.refuse_other_numbers(tiny_measured, list(verify.measured(tiny_measured, ("one", "two"))))
    assert refused.value.field == field
    assert f"artifacts/tiny/{kind}/two" in str(refused.value)


def test_numbers_that_differ_by_rounding_are_not(tiny_measured: Place) -> None:
    rewrite(tiny_measured, "cka", "two", scaled("self_b", 1.0001))
    verify.refuse_other_numbers(tiny_measured, list(verify.measured(tiny_measured, ("one", "two"))))


@pytest.mark.parametrize(
    ("name", "images", "within"), [("probe_vote", 8, True), ("probe_vote", 12, False), ("vote", 20, False)]
)
def test_a_fitted_probe_may_differ_in_more_images_than_neighbours(
    tiny_measured: Place, name: str, images: int, within: bool
) -> None:
    def otherwise(values: dict[str, np.ndarray]) -> None:
        first = values[name].reshape(-1)[:images]
        first[:] = (first + 1) % 10

    # 96 images; the votes are of two tokens at four depths.
    rewrite(tiny_measured, "knn", "two", otherwise)
    differences = list(verify.measured(tiny_measured, ("one", "two")))
    assert all(one.value <= one.limit for one in differences) == within


def test_an_artifact_that_was_made_from_other_data_is_refused(tiny_measured: Place, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(tiny_measured, "summaries", "one", lambda _: None, machine="another")
    assert main(["verify"]) == 12
    message = capsys.readouterr().err
    assert "artifacts/tiny/cka/one: provenance.inputs, summaries/one" in message
    assert "run dvc repro" in message


def test_what_an_artifact_was_made_from_must_be_there(tiny_measured: Place) -> None:
    tiny_measured.path("summaries", "two").unlink()
    root = Path("artifacts/tiny")
    with pytest.raises(InvalidInput, match="expected: nothing"):
        shipped.refuse_other_inputs(root, shipped.read_all(root))


def test_a_report_of_other_artifacts_is_refused(tiny_measured: Place, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("artifacts/tiny/report/metrics.json")
    path.write_text(path.read_text().replace("0.", "1."))
    assert main(["verify"]) == 12
    assert "report/metrics.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["checkpoints/one.safetensors", "curves/taught.json", "cka/two.safetensors"])
def test_a_broken_artifact_is_refused(tiny_measured: Place, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = Path("artifacts/tiny", name)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    assert main(["verify"]) == 12
    assert name in capsys.readouterr().err


def test_every_shipped_artifact_is_whole_and_made_from_what_ships_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = shipped.read_all(EMBEDDED)
    assert shipped.refuse_other_inputs(EMBEDDED, found) > len(found)
    verify.refuse_other_report(Place(load_params(Path("params.yaml")), "embedded"))


def test_the_locks_record_what_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    recorded = {
        entry["path"]: entry["md5"]
        for stage in pipeline.recorded().values()
        for entry in (*stage.get("deps", ()), *stage["outs"])
        if Path(entry["path"]).suffix and entry["path"].startswith("artifacts/embedded")
    }
    assert len(recorded) > 300
    for path, md5 in recorded.items():
        assert hashlib.md5((ROOT / path).read_bytes()).hexdigest() == md5, path
