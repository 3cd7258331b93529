"""Embeddings in the place of a network go through every stage; what they lack is said, and others' images are refused."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from harness.__main__ import main
from harness.artifacts import store
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.layout import Layout
from harness.artifacts.tables import BANK, CKA, CURVE, FINAL, KNN, PROBE, SIMILARITY, unpack
from harness.data import images
from harness.params.load import load_params
from harness.readings.accuracy import Accuracy
from harness.readings.final import Final
from harness.readings.probes import ProbeAccuracy
from harness.stages import export, extract, weights
from harness.stages.place import Place
from tests.stages.conftest import TINY

File = dict[str, NDArray[Any]]
FILE = "handed/on.npz"


def said(features: str = FILE, sha: str = "0" * 64, **more: Any) -> Place:
    """The tiny profile with a model of embeddings."""
    raw = copy.deepcopy(TINY)
    raw["models"]["mine"] = {"architecture": None, "weights": {"tiny": {"features": features, "sha256": sha}}, **more}
    raw["profiles"]["tiny"] |= {"models": ["one", "two", "mine"], "finetuned": []}
    raw["models"].pop("taught")
    raw["profile"] = raw["profiles"]["tiny"]
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    return Place(load_params(Path("params.yaml")), "tiny")


def put(file: File) -> Place:
    """Save embeddings, and name them in params.yaml."""
    Path(FILE).parent.mkdir(exist_ok=True)
    np.savez(FILE, **file)
    return said(sha=hashlib.sha256(Path(FILE).read_bytes()).hexdigest())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The tiny profile, its first model measured."""
    monkeypatch.chdir(tmp_path)
    place = said()
    weights.run(place, "one")
    extract.run(place, "one")
    return place


@pytest.fixture
def file(place: Place) -> File:
    """The first model's pre-logits, with the images as the project writes them down."""
    export.run(place, say=lambda _: None)
    bank = store.read_arrays(place.path("banks", "one"), BANK)
    final = Layout.of(bank).at("cls", -1)
    found: File = {split: np.array(bank[split][:, final], np.float32) for split in ("train", "validation")}
    return found | {f"{split}_image": np.load(f"images/tiny/{split}_image.npy") for split in ("train", "validation")}


def test_the_profiles_images_are_written_down_as_they_are_measured(place: Place) -> None:
    told: list[str] = []
    export.run(place, say=told.append)
    assert told == ["images/tiny/train.npy: 128 images", "images/tiny/validation.npy: 96 images"]
    bank = store.read_arrays(place.path("banks", "one"), BANK)
    for split in ("train", "validation"):
        pixels, known = np.load(f"images/tiny/{split}.npy"), np.load(f"images/tiny/{split}_image.npy")
        assert (pixels.dtype, pixels.shape) == (np.dtype("uint8"), (len(known), 16, 16, 3))
        np.testing.assert_array_equal(images.hashes(pixels), known)
        np.testing.assert_array_equal(known, bank[f"{split}_image"])
    assert sorted(path.name for path in Path("images/tiny").iterdir()) == [
        "train.npy",
        "train_image.npy",
        "validation.npy",
        "validation_image.npy",
    ]


def test_they_are_measured_as_the_network_that_handed_them_on(file: File, capsys: pytest.CaptureFixture[str]) -> None:
    place = put(file)
    for stage in ("weights", "extract", "knn", "probe"):
        for model in ("one", "two", "mine"):
            assert main([stage, "--model", model]) == 0
    for kind in ("summaries", "probes"):
        assert main(["references", "--kind", kind]) == 0
    for stage in ("compare", "agree", "invariance"):
        for model in ("one", "two", "mine"):
            assert main([stage, "--model", model]) == 0
    for stage in ("pixels", "sweep", "report", "cost", "page"):
        assert main([stage]) == 0
    assert "tiny: 2 models" in capsys.readouterr().out
    assert f"embeddings, {FILE}" in Path("artifacts/tiny/index.html").read_text()

    assert store.read_table(place.path("curves", "mine", ending=".json"), CURVE).rows.empty
    bank = store.read_arrays(place.path("banks", "mine"), BANK)
    assert Layout.of(bank) == Layout(("cls",), (16,))
    assert unpack(bank["layers"]) == ["pixels"]
    one = store.read_arrays(place.path("banks", "one"), BANK)
    np.testing.assert_array_equal(bank["validation"], one["validation"][:, Layout.of(one).at("cls", -1)])
    np.testing.assert_allclose(bank["gram"][:, 0], one["gram"][:, -1], rtol=1e-5, atol=1e-5)

    own, its = (store.read_arrays(place.path("knn", model), KNN) for model in ("mine", "one"))
    np.testing.assert_array_equal(own["vote"][0, 0], its["vote"][0, -1])
    accuracy = Accuracy.from_arrays(own)
    assert accuracy.final("cls").value == Accuracy.from_arrays(deeper(its)).final("cls").value
    with pytest.raises(MissingArtifact, match="no blocks"):
        accuracy.fall("cls")

    probed = store.read_arrays(place.path("probes", "mine"), PROBE)
    assert unpack(probed["sets"]) == ["final", "depth2"]
    probes = ProbeAccuracy.from_arrays(probed, "mine")
    assert 0 <= probes.estimate("depth2").value <= 100
    for features in ("pair", "all", "wide", "projected"):
        with pytest.raises(MissingArtifact, match="no blocks"):
            probes.estimate(features)


def deeper(votes: store.Arrays) -> store.Arrays:
    """The tiny network's votes as those of one with blocks enough to be read: each three times, the last once."""
    vote = votes["vote"]
    return store.Arrays(dict(votes.values) | {"vote": vote[:, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]]}, votes.provenance, "")


def test_what_is_handed_on_is_compared_and_layers_are_not(file: File) -> None:
    place = put(file)
    for model in ("two", "mine"):
        weights.run(place, model)
        extract.run(place, model)
    assert main(["compare", "--model", "mine"]) == 0
    for kind in (CKA, SIMILARITY):
        assert store.read_pairs(place.path(kind.kind, "mine"), kind).references == ()
    same, other = (store.read_pairs(place.path("final", "mine"), FINAL).of(model) for model in ("one", "two"))
    np.testing.assert_array_equal(same["common"], same["k"][0])
    assert Final.cka(same, ("mine", "one")).same_depth().value == pytest.approx(1, abs=1e-5)
    assert Final.neighbours(same).same_depth([3]).interval() == (1, 1)
    assert Final.neighbours(other).same_depth().value == pytest.approx((other["common"] / other["k"][0]).mean())
    assert (other["common"] / other["k"][0]).mean() < 0.9
    parts = {name: other[name].astype(float).sum() for name in ("cross", "self_a", "self_b")}
    expected = parts["cross"] / (parts["self_a"] * parts["self_b"]) ** 0.5
    assert Final.cka(other, ("mine", "two")).same_depth().value == pytest.approx(expected)
    assert Final.cka(other, ("mine", "two")).values_only().same_depth().value == pytest.approx(expected)
    still = store.Arrays(dict(other.values) | {"self_b": np.zeros(4, np.float32)}, other.provenance, "")
    with pytest.raises(InvalidInput, match=r"pre-logits of mine and two[\s\S]*features that vary"):
        Final.cka(still, ("mine", "two")).same_depth()


def test_what_the_page_says_makes_a_model_to_judge(file: File) -> None:
    text = (ROOT / "docs" / "judge-a-model.md").read_text().split("## Embeddings")[1].replace("laptop", "tiny")
    (code,), (entry,) = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "yaml"))
    exec(code, {"numpy": np, "train": file["train"], "validation": file["validation"]})
    sha = hashlib.sha256(Path("mine.npz").read_bytes()).hexdigest()
    model = yaml.safe_load(entry.replace("...", sha))["mine"]
    assert model == {"architecture": None, "weights": {"tiny": {"features": "mine.npz", "sha256": sha}}}
    place = said("mine.npz", sha)
    weights.run(place, "mine")
    extract.run(place, "mine")
    assert place.path("banks", "mine").exists()


def changed(split: str, row: int, value: float) -> Callable[[File], File]:
    def change(file: File) -> File:
        rows = file[split].copy()
        rows[row, 0] = value
        return file | {split: rows}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: {name: value for name, value in f.items() if name != "train_image"}, r"arrays[\s\S]*train_image"),
        (lambda f: f | {"label": f["train_image"]}, r"arrays[\s\S]*label"),
        (lambda f: f | {"train": f["train"].astype(object)}, "an .npz file of plain arrays"),
        (lambda f: f | {"train": f["train"][:-1]}, r"float32 \(127, 16\)[\s\S]*\(128, features\)"),
        (lambda f: f | {"train": f["train"][:, 0]}, r"float32 \(128,\)"),
        (lambda f: f | {"train": f["train"].astype(np.int32)}, "int32"),
        (lambda f: f | {"train": f["train"][:, :0]}, r"float32 \(128, 0\)"),
        (lambda f: f | {"train": f["train"][:, :-1]}, r"features[\s\S]*'train': 15"),
        (lambda f: f | {"train_image": f["train_image"].astype(float)}, r"train_image[\s\S]*float64"),
        (changed("train", 3, np.nan), r"train, row 3, feature 0[\s\S]*nan"),
        (changed("validation", 5, np.inf), r"validation, row 5, feature 0[\s\S]*inf"),
        (changed("validation", 5, 1e5), r"validation, row 5, feature 0[\s\S]*at most 65504"),
        (lambda f: f | {"train": f["train"] * 1e-7}, r"half floats lose[\s\S]*multiply"),
    ],
)
def test_a_file_of_something_else_is_refused(file: File, change: Callable[[File], File], message: str) -> None:
    place = put(change(file))
    with pytest.raises(InvalidInput, match=message):
        weights.run(place, "mine")
    assert not place.path("checkpoints", "mine").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: {name: value[:-1] if "train" in name else value for name, value in f.items()}, r"127 images[\s\S]*128"),
        (lambda f: {name: value[::-1] for name, value in f.items()}, r"validation_image, row 0[\s\S]*another image"),
        (
            lambda f: f | {"train_image": np.where(np.arange(128) == 70, 1, f["train_image"])},
            r"train_image, row 70[\s\S]*1, another image[\s\S]*python -m harness images --profile tiny",
        ),
    ],
)
def test_embeddings_of_other_images_are_refused(file: File, change: Callable[[File], File], message: str) -> None:
    place = put(change(file))
    weights.run(place, "mine")
    with pytest.raises(InvalidInput, match=message):
        extract.run(place, "mine")
    assert not place.path("banks", "mine").exists()


def test_a_file_that_is_not_there_another_one_and_none_are_told(place: Place, file: File) -> None:
    with pytest.raises(MissingArtifact, match=r"handed/on.npz[\s\S]*python -m harness images"):
        weights.run(said(), "mine")
    put(file)
    with pytest.raises(InvalidInput, match=r"sha256[\s\S]*0{64}"):
        weights.run(said(), "mine")
    Path(FILE).write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(InvalidInput, match=r"an \.npz file"):
        weights.run(said(sha=hashlib.sha256(Path(FILE).read_bytes()).hexdigest()), "mine")
