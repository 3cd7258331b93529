"""Untrained networks under the names of the trained: nothing that the claims then read may be SUPPORTED or REFUTED.

The networks are real and so is the pipeline from pixels to verdict; a pool of them is cast anew for every seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import worlds
import yaml
from test_planted import ACCURACY, PLANTED, TESTS
from worlds import FURTHER, RUNS, SUPERVISED, UNTRAINED, UNTRAINED_CNNS, World

from harness.artifacts import store
from harness.artifacts.closure import ROOT
from harness.artifacts.store import Arrays
from harness.artifacts.tables import BANK
from harness.evidence.decide import State
from harness.params.load import load_params
from harness.params.models import FINETUNED
from harness.readings.accuracy import Accuracy
from harness.readings.neighbourhoods import Neighbourhoods
from harness.readings.pair import Pair
from harness.stages import compare, extract, knn, weights
from harness.stages.place import Place

POOL, SUBSETS = 28, 8
# Three casts of the pool are decided in every run of the tests, the others in the slow ones.
SEEDS = [seed if seed < 3 else pytest.param(seed, marks=pytest.mark.slow) for seed in range(20)]
ROLES = [run for runs in RUNS.values() for run in runs]


@dataclass(eq=False)
class Pool:
    """Random networks of twelve blocks, extracted once and compared when a pair is asked for."""

    banks: list[compare.Compared]
    place: Place
    _cka: dict[tuple[int, int], Arrays] = field(default_factory=dict)
    _second: dict[tuple[int, int], Arrays] = field(default_factory=dict)
    _votes: dict[int, Accuracy] = field(default_factory=dict)

    def pair(self, i: int, j: int) -> Pair:
        """Their CKA."""
        if (i, j) not in self._cka:
            values = compare.layer_pairs(self.banks[i].bank, self.banks[j].bank, 32)
            self._cka[i, j] = Arrays(values, self.banks[i].bank.provenance, "")
        return Pair.from_arrays(self._cka[i, j])

    def second(self, i: int, j: int) -> Arrays:
        """Their second opinions."""
        if (i, j) not in self._second:
            values = compare.second_opinions(self.banks[i], self.banks[j])
            self._second[i, j] = Arrays(values, self.banks[i].bank.provenance, "")
        return self._second[i, j]

    def votes(self, i: int) -> Accuracy:
        """Which images its neighbours get right."""
        if i not in self._votes:
            values = knn.votes(self.banks[i].bank, self.place.settings.knn)
            self._votes[i] = Accuracy.from_arrays(Arrays(values, self.banks[i].bank.provenance, ""))
        return self._votes[i]

    def world(self, seed: int) -> World:
        """Some of the networks under all names."""
        order = np.random.default_rng(seed).permutation(len(self.banks))
        # Those that are said to be fine-tuned are further ones.
        # No claim here reads what these alone stand for: detectors, and probes without flips.
        further = [name for name in FURTHER if name not in ("dino_nomc", "moco_v3_no_flip")]
        tuned = [role + FINETUNED for role in (*ROLES, "msn")]
        names = [*ROLES, *UNTRAINED, SUPERVISED, *further, *tuned, *UNTRAINED_CNNS]
        who = dict(zip(names, order.tolist(), strict=False))

        # A pair keeps its draws (16 MB), which all claims about it share.
        kept = lru_cache(maxsize=24)

        def subsets(token: str) -> Callable[[str, str], Pair]:
            return kept(lambda a, b: Pair.from_subsets(self.second(who[a], who[b]), token))

        return replace(
            World(),
            cka=kept(lambda a, b: self.pair(who[a], who[b])),
            deconfounded=kept(lambda a, b: self.pair(who[a], who[b]).deconfounded()),
            mutual=kept(lambda a, b: Neighbourhoods.from_arrays(self.second(who[a], who[b]))),
            cls=subsets("cls"),
            gap=subsets("gap"),
            knn=lambda model: self.votes(who[model]),
            source="null",
        )


def pool_of(folder: Path, count: int, world: dict[str, Any]) -> Pool:
    """Extract `count` untrained networks, half of them with sin-cos positions, over 256 images."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    models = {
        f"n{i}": {
            "family": "random",
            "architecture": "vit",
            "weights": {"null": {"objective": "random", "seed": i, "positions": ("sincos", "learned")[i % 2]}},
        }
        for i in range(count)
    }
    profile = raw["profiles"]["embedded"]
    profile["data"]["world"] |= world
    profile["extract"] |= {"images": 256, "bank": 512, "queries": 512}
    profile["architectures"]["vit"]["options"] |= {"embed_dim": 32, "num_heads": 2}
    profile["probe"] |= {"images": 512}
    profile["similarity"] = {"k": 10, "subsets": SUBSETS}
    file = folder / "params.yaml"
    profile |= {
        "name": "null",
        "models": list(models),
        "references": ["n0", "n1"],
        "sweep_models": ["n0", "n1"],
        "finetuned": [],
    } | {name: [] for name in worlds.OTHER_STAGES}
    file.write_text(yaml.safe_dump({"models": models, "profiles": {"null": profile}, "profile": profile}))
    place = Place(load_params(file), "null")
    for name in models:
        weights.run(place, name)
        extract.run(place, name)
    banks = [store.read_arrays(place.path("banks", name), BANK) for name in models]
    return Pool([compare.Compared(bank, 256, 10, SUBSETS) for bank in banks], place)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("null")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return pool_of(folder, POOL, {})


SIMILARITY = [id for id in PLANTED if not id.startswith(ACCURACY)]
METHODS = [*SIMILARITY, *(id for id in PLANTED if id.startswith("knn-"))]


def decided(world: World, ids: list[str]) -> dict[str, str]:
    """Which of the claims come out with a verdict, and which."""
    verdicts = {id: worlds.on_panel(TESTS[id], world)[0] for id in ids}
    return {id: v.reason for id, v in verdicts.items() if v.state in (State.SUPPORTED, State.REFUTED)}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("runs", ["replicates", "alone"])
def test_untrained_networks_decide_nothing(pool: Pool, seed: int, runs: str) -> None:
    world = pool.world(seed)
    if runs == "alone":
        world = replace(world, runs={method: names[:1] for method, names in RUNS.items()})
    assert decided(world, METHODS) == {}


def test_the_range_alone_keeps_untrained_networks_from_a_verdict(pool: Pool) -> None:
    """With votes as trained networks have them, what is left to refuse is that the measures tell nothing apart."""
    world = replace(pool.world(0), knn=worlds.knn)
    assert decided(world, SIMILARITY) == {}
    verdicts = [worlds.on_panel(TESTS[id], world)[0] for id in SIMILARITY]
    assert sum(verdict.state is State.UNCALIBRATED for verdict in verdicts) > len(verdicts) / 2


def test_a_world_of_negatives_blinds_plain_cka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the networks have learned: one bit that all of them pass on is nearly all that CKA sees."""
    monkeypatch.chdir(tmp_path)
    blinding = {"negatives": True, "background": [30.0, 45.0], "contrast": [90.0, 200.0], "scale": [0.55, 1.0]}
    blind = pool_of(tmp_path, 5, blinding)
    alone = {method: names[:1] for method, names in RUNS.items()}

    who = dict(zip([*alone, *UNTRAINED], range(5), strict=True))
    world = replace(World(), cka=lambda a, b: blind.pair(who[a], who[b]), runs=alone)
    for id in ("je-je-high", "je-rec-low", "early-onset", "je-diag", "je-late-drop", "rec-quarter", "type-order", "attn-nil"):
        verdict, inputs = worlds.on_panel(TESTS[id], world)
        assert verdict.state is State.UNCALIBRATED, id
        assert "cka range" in inputs.instrument
