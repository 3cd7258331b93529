"""The stage segment on few scenes: what it counts, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.artifacts import store
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import REGIONS, SEGMENT
from harness.data import scenes, sprites
from harness.params.load import load_params
from harness.readings.segmentation import Segmentation
from harness.stages import segment, weights
from harness.stages.place import Place

N, BLOCKS = 40, 4


def place_of(**changes: object) -> Place:
    known = load_params(ROOT / "params.yaml")
    profile = known.of("embedded")
    assert profile.segmentation is not None
    few = profile.segmentation.model_copy(update={"train": 40, "validation": N})
    vit = profile.architectures["vit"]
    shallow = vit.model_copy(update={"options": vit.options | {"depth": BLOCKS}})
    update = {"segmentation": few, "architectures": profile.architectures | {"vit": shallow}}
    own = profile.model_copy(update=update | changes)
    return Place(known.model_copy(update={"profiles": known.profiles | {"embedded": own}}), "embedded")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> store.Arrays:
    place, folder = place_of(), tmp_path_factory.mktemp("segment")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        weights.run(place, "random")
        segment.run(place, "random")
        return store.read_arrays(folder / place.path("segment", "random"), SEGMENT)


def test_pixels_add_up_to_those_of_the_scenes(measured: store.Arrays) -> None:
    place = place_of()
    world = place.settings.detection.world
    owner = scenes.compose(sprites.load("digits", "validation"), world, "validation", np.arange(N)).owner
    assert measured["union"].shape == (BLOCKS, len(REGIONS), N)
    # What is object and what is background, where the prediction is right, and all pixels where it is anything.
    objects, background = (REGIONS.index(name) for name in ("objects", "background"))
    right = measured["intersection"][:, objects] + measured["intersection"][:, background].astype(int)
    wrong = measured["union"][:, objects].astype(int) - measured["intersection"][:, objects]
    assert (right + wrong == world.size**2).all()
    sizes = [REGIONS.index(name) for name in ("small", "medium", "large")]
    # Within the boxes of objects all of their own pixels are found in the union.
    assert (measured["union"][:, sizes].sum(1) >= (owner >= 0).sum((1, 2))).all()
    assert (measured["intersection"] <= measured["union"]).all()
    assert measured.provenance.inputs == {"checkpoints/random": measured.provenance.weights}


def test_an_untrained_network_shows_much_of_the_masks_and_large_objects_better(measured: store.Arrays) -> None:
    found = Segmentation.from_arrays(measured)
    assert found.iou("large").value > found.iou("small").value > 0.1
    assert found.mean_iou().value == pytest.approx((found.iou("objects").value + found.iou("background").value) / 2)


def test_patches_are_in_the_order_of_the_networks_tokens() -> None:
    image = torch.arange(2 * 64).reshape(2, 8, 8)
    patches = segment._patches(image, 4)
    assert patches[0, 1].tolist() == image[0, :4, 4:].flatten().tolist()
    assert patches[1, 2].tolist() == image[1, 4:, :4].flatten().tolist()
    assert (segment._image(patches, 4) == image).all()


def test_a_network_without_patch_tokens_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights.run(place_of(), "random_resnet50")
    with pytest.raises(InvalidInput, match="patch tokens"):
        segment.run(place_of(), "random_resnet50")


def test_a_profile_without_its_parameters_is_refused() -> None:
    with pytest.raises(InvalidInput, match="segmentation"):
        segment.run(place_of(segmentation=None), "random")
