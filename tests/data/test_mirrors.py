"""Candidates: mirror images and scenes drawn anew, and how much they differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.data import mirrors
from harness.params.load import load_params

DATA = load_params(Path("params.yaml")).of("embedded").data
N = 24


def test_candidates_are_mirror_images_of_each_other_in_pairs() -> None:
    made = mirrors.candidates(DATA, N, 0)
    assert made.shape == (4, N, 16, 16, 3)
    assert (made[1] == made[0][:, :, ::-1]).all()
    assert (made[3] == made[2][:, :, ::-1]).all()


def test_the_mirrored_object_stays_in_place_and_the_mirrored_place_keeps_the_object() -> None:
    """By the centre of what is brighter than the background, which noise moves by less than half a pixel."""
    made = mirrors.candidates(DATA, N, 0).mean(4)
    bright = np.where(made > 150, made - 123, 0)
    x = (bright * (np.arange(16) + 0.5)).sum((2, 3)) / bright.sum((2, 3))
    # Glyphs are not centred on their sprites: turning one moves its centre of light by up to two pixels.
    assert np.abs(x[2] - x[0]).max() < 2.5
    assert np.abs((16 - x[3]) - x[0]).max() < 2.5
    assert np.abs((16 - x[1]) - x[0]).max() < 1e-9


def test_asymmetry_is_zero_for_a_symmetric_image_and_one_for_images_as_far_as_two_of_them() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    half = np.concatenate([image[:, :, :4], image[:, :, :4][:, :, ::-1]], 2)
    assert mirrors.asymmetry(np.stack([half, half[:, :, ::-1]])).max() == 0
    unlike = mirrors.asymmetry(np.stack([image, image[:, :, ::-1]]))
    assert unlike.mean() == pytest.approx(1, abs=0.05)
    # The least over all pairs: a third candidate that equals the first one leaves nothing.
    assert mirrors.asymmetry(np.stack([image, image[:, :, ::-1], image])).max() == 0


def test_distances_are_mean_squared_differences() -> None:
    rng = np.random.default_rng(1)
    samples = rng.integers(0, 256, (3, 2, 4, 4, 3)).astype(np.uint8)
    made = rng.integers(0, 256, (4, 3, 4, 4, 3)).astype(np.uint8)
    found = mirrors.distances(samples, made)
    assert found.shape == (3, 2, 4)
    for i, j, c in np.ndindex(3, 2, 4):
        assert found[i, j, c] == pytest.approx(((samples[i, j].astype(float) - made[c, i]) ** 2).mean(), rel=1e-5)
