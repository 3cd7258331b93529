"""The stages generate and sample at the profile `paper`, on a folder of small photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from harness.artifacts import store
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import SAMPLES, unpack
from harness.page import samples as page_samples
from harness.params.load import check_params
from harness.readings.samples import Samples
from harness.stages.place import Place
from tests.photographs import photographs
from tests.stages.test_generate import MODELS, sampled

SIDE, POOL, OTHERS = 16, 8, 6


def place(root: Path, **changes: Any) -> Place:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    profile = raw["profiles"]["paper"]
    profile["data"] |= {"root": str(root), "resize": 36, "size": 32}
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    profile["architectures"]["vit"] = {"name": "vit_tiny_patch16_224", "options": options}
    profile["extract"] |= {"images": POOL, "minibatch": 8, "queries": 16, "bank": 16, "batch": 8}
    profile["similarity"] = {"k": 2, "subsets": 2}
    profile["knn"] |= {"k": 2}
    profile["probe"] |= {"images": 16, "batch": 4, "holdout": 0.25, "doublings": 1}
    profile["generated"], profile["sampled"] = ["cls"], list(MODELS)
    few = {"images": 16, "side": SIDE, "width": 8, "depth": 2, "steps": 3, "batch": 4, "warmup_steps": 1}
    profile["generation"] |= few | changes
    drawn = {"sources": 4, "asymmetry": 0.0, "samples": 2, "levels": [0.0, 0.2], "steps": 2, "judge": "random"}
    profile["sampling"] |= drawn | {"validation": OTHERS}
    return Place(check_params(raw, "params.yaml"), "paper")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generate")
    photographs(root / "photographs", 20)
    sampled(place(root / "photographs"), root, judged_by=16)
    return root


def test_photographs_are_drawn_and_held_against_their_mirror_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    own = place(folder / "photographs")
    found = store.read_arrays(own.path("samples", "cls", "random"), SAMPLES)
    assert unpack(found["candidates"]) == ["source", "mirror"]
    assert unpack(found["factors"]) == ["balance"]
    assert found["distance"].shape == (2, 4, 2, 2)
    assert found["original"].shape == (4, SIDE, SIDE, 3)
    read = Samples.from_arrays(found)
    assert 0 <= read.mirrored().value <= 1
    # By hand: at the claims' level, 0.2, from the pictures that are kept.
    source = found["original"][:, None].astype(float)
    nearer = ((found["picture"] - source[:, :, :, ::-1]) ** 2).sum((2, 3, 4)) < ((found["picture"] - source) ** 2).sum(
        (2, 3, 4)
    )
    assert read.mirrored().value == nearer.mean()
    halves = found["picture"].reshape(4, 2, SIDE, 2, SIDE // 2, 3).mean((2, 4, 5)) / 255
    # As drawn: pictures have grey levels that were rounded and clipped.
    assert found["factor"].shape == (2, 4, 2, 1)
    assert np.corrcoef(found["factor"][1, :, :, 0].ravel(), (halves[..., 1] - halves[..., 0]).ravel())[0, 1] > 0.5
    with pytest.raises(InvalidInput, match=r"(?s)candidate.*place.*source, mirror"):
        read.place_mirrored()


def test_the_page_shows_of_photographs_what_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    own = place(folder / "photographs")
    figure, _ = page_samples.mirrored(own)
    assert [one.get_text() for one in figure.axes[1].get_xticklabels()] == ["image"]
    figure, said = page_samples.profile(own)
    assert [one.get_text() for one in figure.axes[0].get_xticklabels()] == ["right half minus left half"]
    assert "by regression" in said
    assert page_samples.pictures(own)[0].axes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"side": None}, r"(?s)paper\.generation\.side.*none.*the side of the photographs"),
        ({"side": 15}, r"(?s)paper\.generation\.side.*15.*multiple of 2"),
    ],
)
def test_a_side_that_does_not_fit_is_refused(folder: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        place(folder / "photographs", **changes)
