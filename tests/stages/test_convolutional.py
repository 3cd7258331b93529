"""A network without CLS token and of several widths goes through every stage beside a ViT, and what it lacks is said."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import yaml

from harness.__main__ import main
from harness.artifacts import store
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.layout import Layout
from harness.artifacts.tables import BANK, CKA, KNN, PROBE, SIMILARITY, TYPES, unpack
from harness.params.load import load_params
from harness.readings.accuracy import Accuracy
from harness.readings.pair import Pair
from harness.stages.place import Place
from tests.stages.conftest import TINY

WIDTHS = [8, 8, 16, 16, 16, 24, 32]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The tiny profile with a ConvNeXt of seven blocks, and a ViT of as many, measured."""
    monkeypatch.chdir(tmp_path)
    raw = copy.deepcopy(TINY)
    profile = raw["profiles"]["tiny"]
    profile["architectures"]["vit"]["options"]["depth"] = len(WIDTHS)
    options = {"patch_size": 2, "depths": [2, 3, 1, 1], "dims": [8, 16, 24, 32], "output_stride": 16}
    profile["architectures"]["conv"] = {"name": "convnext_atto", "options": options}
    profile |= {"models": ["one", "conv"], "references": ["one", "conv"], "sweep_models": ["one", "conv"], "finetuned": []}
    profile["sweep"]["layers"] = 3
    weights = {"tiny": {"objective": "random", "seed": 1, "positions": None}}
    raw["models"] = {"one": raw["models"]["one"], "conv": {"family": "random", "architecture": "conv", "weights": weights}}
    Path("params.yaml").write_text(yaml.safe_dump(raw | {"profile": profile}))
    for stage in ("weights", "extract", "knn", "probe"):
        for model in ("one", "conv"):
            assert main([stage, "--model", model]) == 0
    for kind in ("summaries", "probes"):
        assert main(["references", "--kind", kind]) == 0
    for stage in ("compare", "agree"):
        for model in ("one", "conv"):
            assert main([stage, "--model", model]) == 0
    for stage in ("pixels", "sweep", "report", "cost"):
        assert main([stage]) == 0
    return Place(load_params(Path("params.yaml")), "tiny")


def test_it_is_measured_by_what_it_has(place: Place) -> None:
    bank = store.read_arrays(place.path("banks", "conv"), BANK)
    layout = Layout.of(bank)
    assert layout == Layout(("gap",), (*WIDTHS, 32))
    assert unpack(bank["layers"]) == [*(f"{i}.block" for i in range(7)), "pixels"]

    cka = store.read_pairs(place.path("cka", "conv"), CKA).of("one")
    assert cka["cka"].shape == (7, 7 * len(TYPES))
    assert unpack(cka["types"]) == ["block"]
    pair = Pair.from_arrays(cka, names=("conv", "one"))
    # Blocks 0 and 11 of twelve are the first and the last of seven.
    corner = cka["cka"][6, 7 * len(TYPES) - 1]
    assert pair.cells([11], [11]).value == pytest.approx(corner, abs=1e-5)
    with pytest.raises(InvalidInput, match=r"some of block"):
        pair.same_depth(types=["norm1"])

    near = store.read_pairs(place.path("similarity", "conv"), SIMILARITY).of("one")
    assert unpack(near["tokens"]) == ["gap"]
    own = Layout.of(store.read_arrays(place.path("banks", "one"), BANK))
    assert own.tokens == ("cls", "gap")
    assert np.isfinite(Pair.from_subsets(near, "gap").same_depth().value)
    with pytest.raises(MissingArtifact, match=r"conv and one: missing[\s\S]*CLS token: both have gap"):
        Pair.from_subsets(near, "cls", names=("conv", "one"))


def test_its_votes_and_probes_are_of_its_pooled_maps(place: Place) -> None:
    votes = store.read_arrays(place.path("knn", "conv"), KNN)
    assert votes["vote"].shape == (1, 8, 96)
    accuracy = Accuracy.from_arrays(votes)
    assert accuracy.final("gap").value == pytest.approx(100 * (votes["vote"][0, 7] == votes["label"]).mean())
    with pytest.raises(InvalidInput, match=r"token[\s\S]*cls[\s\S]*one of gap"):
        accuracy.final("cls")
    sets = unpack(store.read_arrays(place.path("probes", "conv"), PROBE)["sets"])
    assert sets[:2] == ["final", "final+0"]
    assert "gap" not in sets
