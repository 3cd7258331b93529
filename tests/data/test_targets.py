"""Targets of a generator: vectors of images and back, and values that mirroring changes."""

from __future__ import annotations

import numpy as np
import pytest

from harness.artifacts.closure import ROOT
from harness.data import images
from harness.data.targets import PhotographTargets, SceneTargets, targets_of
from harness.params.images import ReaderData, ScenesData
from harness.params.load import load_params
from tests.photographs import photographs as write

N, SIDE = 6, 16


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReaderData:
    root = tmp_path_factory.mktemp("photographs")
    write(root, 2 * N)
    return ReaderData(kind="reader", reader="", root=str(root), resize=36, size=32)


@pytest.fixture
def photographs(data: ReaderData) -> PhotographTargets:
    found = targets_of(data, SIDE, 0)
    assert isinstance(found, PhotographTargets)
    return found


@pytest.fixture(scope="module")
def scenes() -> ScenesData:
    found = load_params(ROOT / "params.yaml").of("embedded").data
    assert isinstance(found, ScenesData)
    return found


def test_a_photograph_is_its_grey_levels(photographs: PhotographTargets) -> None:
    index = np.array([3, 1])
    vectors = photographs.vectors("validation", index)
    seen = photographs.images("validation", N).read(index)
    assert vectors.shape == (2, SIDE * SIDE * 3)
    assert (photographs.decode(vectors.astype(np.float32)) == seen).all()
    # What is drawn need not be a grey level.
    assert photographs.decode(np.full((1, SIDE * SIDE * 3), 300.0)).max() == 255
    assert photographs.decode(np.full((1, SIDE * SIDE * 3), -3.0)).max() == 0
    assert photographs.shares(4).tolist() == [0.25] * 4


def test_a_photograph_shows_what_the_networks_see_of_it(photographs: PhotographTargets, data: ReaderData) -> None:
    large = images.load(data, "validation", N, 0)
    small = photographs.images("validation", N)
    assert small.label.tolist() == large.label.tolist()
    pixels = small.read(np.arange(N))
    assert pixels.shape == (N, SIDE, SIDE, 3)
    enlarged = photographs.enlarged(pixels)
    assert enlarged.dtype == np.uint8
    assert enlarged.shape == (N, 32, 32, 3)
    assert np.abs(enlarged.astype(float) - large.read(np.arange(N))).mean() < 6


def test_mirroring_changes_the_sign_of_the_balance(photographs: PhotographTargets) -> None:
    names, made = photographs.candidates(N)
    assert names == ("source", "mirror")
    assert (made[1] == made[0][:, :, ::-1]).all()
    one, other = (photographs.values(part.reshape(N, -1)) for part in made)
    assert one.shape == (N, 1)
    assert np.abs(one).max() > 0.05
    assert np.allclose(one, -other, atol=1e-6)
    # By hand: a black left half and a white right one.
    pixels = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    pixels[:, :, SIDE // 2 :] = 255
    assert photographs.values(pixels.reshape(1, -1)).tolist() == [[1.0]]


def test_scenes_are_drawn_as_the_vectors_that_they_are_composed_from(scenes: ScenesData) -> None:
    found = targets_of(scenes, None, 0)
    assert isinstance(found, SceneTargets)
    index = np.arange(N)
    vectors = found.vectors("validation", index)
    assert (found.values(vectors) == vectors[:, -6:]).all()
    assert found.decode(vectors).shape == found.images("validation", N).read(index).shape
    assert found.candidates(N)[1].shape[:2] == (4, N)
    pixels = found.images("train", N).read(index)
    assert found.enlarged(pixels) is pixels
