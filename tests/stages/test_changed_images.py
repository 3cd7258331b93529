"""The stage invariance: what it writes of a network, of embeddings, and of images that can only be mirrored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.artifacts import store
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import MissingArtifact
from harness.artifacts.tables import INVARIANCE, unpack
from harness.data import images
from harness.data.changes import OF_SCENES, changed
from harness.models import checkpoint
from harness.models.build import build, normaliser
from harness.params.load import load_params
from harness.readings.invariance import Invariance
from harness.stages import extract, invariance, summary, weights
from harness.stages.place import Place

N = 64


@pytest.fixture(scope="module")
def place() -> Place:
    """The embedded profile, of whose images few are looked at."""
    known = load_params(ROOT / "params.yaml")
    profile = known.of("embedded")
    extract = profile.extract.model_copy(update={"images": N, "bank": N, "queries": N})
    few = profile.model_copy(update={"extract": extract})
    return Place(known.model_copy(update={"profiles": known.profiles | {"embedded": few}}), "embedded")


@pytest.fixture(scope="module")
def measured(place: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, store.Arrays]:
    folder = tmp_path_factory.mktemp("invariance")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        weights.run(place, "random")
        extract.run(place, "random")
        invariance.run(place, "random")
        return folder, store.read_arrays(folder / place.path("invariance", "random"), INVARIANCE)


def test_distances_are_those_of_the_networks_own_output(place: Place, measured: tuple[Path, store.Arrays]) -> None:
    folder, arrays = measured
    data, architecture = place.settings.data, place.params.architecture("random", "embedded")
    network = build(architecture.name, **architecture.options)
    checkpoint.load(folder / place.path("checkpoints", "random"), network, place.precision("random"))
    normalise = normaliser(data.mean, data.std)

    def final(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(normalise(torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float() / 255)).double().numpy()

    before = final(images.load(data, "validation", N, 0).read(np.arange(N)))
    names = unpack(arrays["changes"])
    assert names == ["flip", *OF_SCENES]
    for change in ("flip", "tilt", "class"):
        after = final(changed(data, "validation", N, 0, change).read(np.arange(N)))
        row = names.index(change), unpack(arrays["tokens"]).index("cls")
        # Features are kept in half precision.
        between = 2 * len(before) / (len(before) - 1) * ((before - before.mean(0)) ** 2).sum(1).mean()
        np.testing.assert_allclose(arrays["moved"][row], ((before - after) ** 2).sum(1) / between, rtol=0.02, atol=0.002)


def test_the_last_depth_is_the_final_norm_s_output(place: Place, measured: tuple[Path, store.Arrays]) -> None:
    _, arrays = measured
    assert arrays["by_block"].shape == (1 + len(OF_SCENES), 2, 13)
    ratio = arrays["moved"].mean(2, dtype=float) / arrays["others"].mean(1, dtype=float)
    np.testing.assert_allclose(arrays["by_block"][..., -1], ratio, rtol=1e-3)
    folder = measured[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        known = summary.sha256(place, "random")
    assert arrays.provenance.inputs == {"checkpoints/random": arrays.provenance.weights, "summaries/random": known}


def test_another_class_moves_features_farther_than_another_brightness(measured: tuple[Path, store.Arrays]) -> None:
    found = Invariance.from_arrays(measured[1])
    for token in ("cls", "gap"):
        assert found.distance("class", token).value > found.distance("brightness", token).value
    assert 0 < found.retrieved("class").value < found.retrieved("brightness").value


def test_embeddings_have_no_changed_images(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = {"architecture": None, "weights": {"embedded": {"features": "mine.npz", "sha256": "0" * 64}}}
    from harness.params.models import Model

    models = {**place.params.models, "mine": Model.model_validate(mine)}
    invariance.run(Place(place.params.model_copy(update={"models": models}), "embedded"), "mine")
    arrays = store.read_arrays(place.path("invariance", "mine"), INVARIANCE)
    assert unpack(arrays["changes"]) == []
    with pytest.raises(MissingArtifact, match="judge the network"):
        Invariance.from_arrays(arrays)
