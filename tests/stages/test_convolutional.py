"""A network without CLS token and of several widths goes through every stage beside a ViT, and what it lacks is said."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from harness.__main__ import main
from harness.artifacts import store
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.layout import Layout
from harness.artifacts.tables import BANK, CKA, KNN, PROBE, SIMILARITY, TYPES, unpack
from harness.models import checkpoint
from harness.models.build import build
from harness.params.load import load_params
from harness.readings.accuracy import Accuracy
from harness.readings.pair import Pair
from harness.stages import weights
from harness.stages.place import Place
from harness.training.objective import Objective
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
    for stage in ("compare", "agree", "invariance"):
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


def test_its_training_has_channels_innermost_in_memory_and_its_checkpoint_the_weights_that_were_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = copy.deepcopy(TINY)
    profile = raw["profiles"]["tiny"]
    profile["architectures"]["resnet"] = {"name": "resnet18", "options": {"channels": [8, 8, 16, 16]}}
    profile |= {"models": ["one", "net"], "references": ["one", "net"], "sweep_models": ["one", "net"], "finetuned": []}
    recipe = {"objective": "moco_v3", "seed": 0, "epochs": 1, "batch": 16, "base_lr": 1e-3, "weight_decay": 0.1}
    recipe |= {"warmup_epochs": 0, "crop": [0.5, 1.0], "temperature": 0.2, "momentum": 0.9, "hidden": 16, "out": 8}
    net = {"family": "je", "architecture": "resnet", "weights": {"tiny": recipe}}
    raw["models"] = {"one": raw["models"]["one"], "net": net}
    Path("params.yaml").write_text(yaml.safe_dump(raw | {"profile": profile}))
    trained: list[nn.Module] = []
    known = weights.pretrain

    def pretrain(objective: Objective, *arguments: Any, **more: Any) -> list[dict[str, float]]:
        trained.append(objective.backbone())
        return known(objective, *arguments, **more)

    monkeypatch.setattr(weights, "pretrain", pretrain)
    assert main(["weights", "--model", "net"]) == 0
    (network,) = trained
    wide = [p for p in network.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert wide
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)
    kept = build("resnet18", channels=[8, 8, 16, 16])
    checkpoint.load(Place(load_params(Path("params.yaml")), "tiny").path("checkpoints", "net"), kept)
    for name, value in network.state_dict().items():
        assert torch.equal(kept.state_dict()[name], value.half().float() if value.is_floating_point() else value), name
