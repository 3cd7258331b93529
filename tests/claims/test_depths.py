"""Networks of 6, 12 and 24 blocks go through the stages and into every claim that is decided on similarities and votes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import worlds
import yaml
from test_planted import ACCURACY, PLANTED, TESTS
from worlds import World

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import MissingArtifact
from harness.evidence.claim import Inputs
from harness.evidence.decide import State
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import BLOCKS
from harness.models import checkpoint
from harness.models.build import build
from harness.params.load import load_params
from harness.params.models import FINETUNED, start_of
from harness.params.params import Params
from harness.readings.readings import Readings
from harness.stages import compare, extract, knn, weights
from harness.stages.place import Place

DEPTHS = {"moco_v3": 12, "dino": 12, "mae": 24, "msn": 12, "random": 6, "random_learned": 12}
CNNS = {"moco_v3_resnet50": "je", "dino_resnet50": "je", "fcmae": "rec"}
CNNS |= {"random_resnet50": "random", "random_convnextv2": "random"}
TUNED = ("moco_v3", "dino", "mae", "msn")
IDS = [id for id in PLANTED if not id.startswith(ACCURACY) or id.startswith("knn-")]


def measure(folder: Path) -> Params:
    """A profile of untrained networks with these depths, measured."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    profile = raw["profiles"]["embedded"]
    options = profile["architectures"]["vit"]["options"] | {"embed_dim": 32, "num_heads": 2}
    profile["architectures"] = {
        f"vit{depth}": {"name": "vit_tiny_patch16_224", "options": options | {"depth": depth}} for depth in set(DEPTHS.values())
    }
    families = {"moco_v3": "je", "dino": "je", "mae": "rec", "msn": "je"}
    # It has no family, like a model that a user brings: no CLS token, one layer type, four widths.
    options = {"patch_size": 2, "depths": [2, 2, 4, 4], "dims": [8, 16, 24, 32], "output_stride": 16}
    profile["architectures"]["conv"] = {"name": "convnext_atto", "options": options}
    conv = {"architecture": "conv", "weights": {"embedded": {"objective": "random", "seed": 9, "positions": None}}}
    models = {
        name: {
            "family": families.get(name, "random"),
            "architecture": f"vit{depth}",
            "weights": {"embedded": {"objective": "random", "seed": seed, "positions": "sincos"}},
        }
        for seed, (name, depth) in enumerate(DEPTHS.items())
    }
    profile["extract"] |= {"images": 256, "bank": 256, "queries": 256}
    profile["probe"] |= {"images": 256, "batch": 64}
    profile["similarity"] = {"k": 10, "subsets": 4}
    profile |= {
        "models": [*models, "conv", *CNNS],
        "references": [model for model in models if model != "msn"],
        "sweep_models": ["moco_v3", "dino"],
    }
    profile |= {"finetuned": list(TUNED)} | {name: [] for name in worlds.OTHER_STAGES}
    models["conv"] = conv
    # The CNNs of the objectives, of which claims ask for their blocks' outputs alone.
    models |= {
        name: conv | {"family": family, "weights": {"embedded": {"objective": "random", "seed": seed, "positions": None}}}
        for seed, (name, family) in enumerate(CNNS.items(), start=20)
    }
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump({"models": models, "profiles": {"embedded": profile}, "profile": profile}))
    place = Place(load_params(file), "embedded")
    for name in models:
        weights.run(place, name)
    for seed, name in enumerate(TUNED):
        # Other networks of the same shape, as fine-tuning would leave them.
        architecture = place.params.architecture(name, "embedded")
        network = build(architecture.name, seed=100 + seed, **architecture.options)
        checkpoint.save(
            place.path("checkpoints", name + FINETUNED), network, place.provenance("harness.stages.finetune", [seed])
        )
    for stage in (extract, compare, knn):
        for name in place.params.at("embedded"):
            stage.run(place, name)
    return place.params


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Params, Path]:
    """The parameters and the folder of the measured project."""
    folder = tmp_path_factory.mktemp("depths")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return measure(folder), folder


@pytest.fixture
def readings(measured: tuple[Params, Path]) -> Readings:
    """What the artifacts of the measured project say."""
    params, folder = measured
    return Readings(params, Inputs("embedded"), folder)


@pytest.mark.parametrize("id", IDS)
def test_a_claim_reads_networks_of_every_depth(readings: Readings, id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = readings.inputs
    opened: set[str] = set()
    model_of = inputs.model_of

    def recorded(role: str) -> str:
        opened.add(model_of(role))
        return model_of(role)

    monkeypatch.setattr(inputs, "model_of", recorded)
    names = (*worlds.MEASURES, "knn")
    world = replace(World(), **{name: getattr(readings, name) for name in names})
    decision = worlds.judge(TESTS[id], world, TESTS[id].claim.margin)
    assert decision.state in (State.SUPPORTED, State.REFUTED, State.INCONCLUSIVE, State.UNCALIBRATED)
    # Whose depth differs is told.
    assert inputs.blocks == {model: DEPTHS[start_of(model)] for model in opened if DEPTHS.get(start_of(model), 12) != 12}


def test_a_network_without_a_cls_token_is_judged_by_what_it_has(readings: Readings) -> None:
    measures = readings.measures("conv")
    assert list(measures) == ["cka", "deconfounded", "mutual", "gap"]
    for measure in measures.values():
        kin = readings.kinship("conv", measure)
        assert kin.of("conv").state in (State.NEITHER, State.INCONCLUSIVE, State.UNCALIBRATED)
        near = kin.nearness("conv", kin.rec, BLOCKS)
        assert near.value == pytest.approx(measure("conv", "mae").same_depth(BLOCKS).value)
    # Runs are held against each other by what the model has, lest more layer types make them differ from it.
    assert readings.kinship("conv", readings.cka).measure("moco_v3", "mae").types == ("block",)
    assert readings.kinship("conv", readings.mutual).measure("moco_v3", "mae").tokens == ("gap",)
    with pytest.raises(MissingArtifact, match="CLS token"):
        readings.kinship("conv", readings.cls).of("conv")

    def accuracy(model: str) -> Estimate:
        return readings.knn(model).final("cls")

    answer = readings.finding("conv", accuracy, State.JE_LIKE)
    assert (answer.state, "conv has no CLS token" in answer.reason) == (State.NO_EVIDENCE, True)
    assert readings.finding("random", accuracy, State.JE_LIKE).state is not State.NO_EVIDENCE
