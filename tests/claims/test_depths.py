"""Networks of 6, 12 and 24 blocks go through the stages and into every claim that is decided on similarities and votes."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import worlds
import yaml
from test_planted import ACCURACY, PLANTED, TESTS
from worlds import World

from harness.artifacts import params as parameters
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import MissingArtifact
from harness.artifacts.params import FINETUNED, start_of
from harness.evidence.claim import Reading
from harness.evidence.decide import State
from harness.evidence.resampling import BLOCKS
from harness.models import checkpoint
from harness.models.build import build
from harness.stages import compare, extract, knn, weights
from harness.stages.place import Place

DEPTHS = {"moco_v3": 12, "dino": 12, "mae": 24, "msn": 12, "random": 6, "random_learned": 12}
CNNS = {"moco_v3_resnet50": "je", "dino_resnet50": "je", "fcmae": "rec"}
TUNED = ("moco_v3", "dino", "mae", "msn")
IDS = [id for id in PLANTED if not id.startswith(ACCURACY) or id.startswith("knn-")]


def measure(folder: Path) -> parameters.Params:
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
    profile["extract"] |= {"images": 256, "bank": 512, "queries": 512}
    profile["probe"] |= {"images": 512}
    profile["similarity"] = {"k": 10, "subsets": 8}
    profile |= {
        "models": [*models, "conv", *CNNS],
        "references": [model for model in models if model != "msn"],
        "sweep_models": ["moco_v3", "dino"],
    }
    profile["finetuned"] = list(TUNED)
    models["conv"] = conv
    # The CNNs of the objectives, of which claims ask for their blocks' outputs alone.
    models |= {
        name: conv | {"family": family, "weights": {"embedded": {"objective": "random", "seed": seed, "positions": None}}}
        for seed, (name, family) in enumerate(CNNS.items(), start=20)
    }
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump({"models": models, "profiles": {"embedded": profile}, "profile": profile}))
    place = Place(parameters.load(file), "embedded")
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
def claims(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """claims/conftest.py, looking for artifacts in the measured project, whose parameters it has as `measured`."""
    folder = tmp_path_factory.mktemp("depths")
    spec = importlib.util.spec_from_file_location("claims_conftest_of_depths", ROOT / "claims" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        vars(module).update(ROOT=folder, measured=measure(folder))
    return module


@pytest.mark.parametrize("id", IDS)
def test_a_claim_reads_networks_of_every_depth(claims: ModuleType, id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, params = Reading("embedded"), claims.measured
    opened: set[str] = set()
    player = reading.player

    def noted(role: str) -> str:
        opened.add(player(role))
        return player(role)

    monkeypatch.setattr(reading, "player", noted)
    world = replace(
        World(),
        cka=claims.pairs_of(params, reading),
        deconfounded=claims.pairs_of(params, reading, adjusted=True),
        mutual=claims.neighbourhoods_of(params, reading),
        cls=claims.subsets_of(params, reading, "cls"),
        gap=claims.subsets_of(params, reading, "gap"),
        knn=claims.accuracy_of(params, reading),
    )
    decision = worlds.judge(TESTS[id], world, TESTS[id].claim.margin)
    assert decision.state in (State.SUPPORTED, State.REFUTED, State.INCONCLUSIVE, State.UNCALIBRATED)
    # Whose depth differs is told.
    assert reading.blocks == {model: DEPTHS[start_of(model)] for model in opened if DEPTHS.get(start_of(model), 12) != 12}


def test_a_network_without_a_cls_token_is_judged_by_what_it_has(claims: ModuleType) -> None:
    reading, params = Reading("embedded"), claims.measured
    known = {name: claims.subsets_of(params, reading, name) for name in ("cls", "gap")} | {
        "cka": claims.pairs_of(params, reading),
        "deconfounded": claims.pairs_of(params, reading, adjusted=True),
        "mutual": claims.neighbourhoods_of(params, reading),
    }
    kinship = claims.kinship._get_wrapped_function()(params, reading, "conv")
    measures = claims.measures._get_wrapped_function()(params, reading, "conv", **known, final=None, final_mutual=None)
    assert list(measures) == ["cka", "deconfounded", "mutual", "gap"]
    for measure in measures.values():
        kin = kinship(measure)
        assert kin.of("conv").state in (State.NEITHER, State.INCONCLUSIVE, State.UNCALIBRATED)
        near = kin.nearness("conv", kin.rec, BLOCKS)
        assert near.value == pytest.approx(measure("conv", "mae").same_depth(BLOCKS).value)
    # Runs are held against each other by what the model has, lest more layer types make them differ from it.
    assert kinship(known["cka"]).measure("moco_v3", "mae").types == ("block",)
    assert kinship(known["mutual"]).measure("moco_v3", "mae").tokens == ("gap",)
    with pytest.raises(MissingArtifact, match="CLS token"):
        kinship(known["cls"]).of("conv")
    votes = claims.accuracy_of(params, reading)
    whose = claims.finding._get_wrapped_function()(params, reading, "conv", votes)
    answer = whose(lambda model: votes(model).final("cls"), State.JE_LIKE)
    assert (answer.state, "conv has no CLS token" in answer.reason) == (State.NO_EVIDENCE, True)
    of_blocks = claims.finding._get_wrapped_function()(params, reading, "random", votes)
    assert of_blocks(lambda model: votes(model).final("cls"), State.JE_LIKE).state is not State.NO_EVIDENCE
