from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.artifacts.errors import InvalidInput
from harness.readings.invariance import Invariance

N = 200
RNG = np.random.default_rng(0)
FOUND = Invariance(
    ("flip", "tilt"),
    ("cls", "gap"),
    RNG.uniform(1, 2, (2, 2, N)),
    RNG.uniform(4, 5, (2, N)),
    (RNG.uniform(size=(2, 2, N)) < 0.3).astype(float),
    "images",
)


def test_a_distance_is_the_ratio_of_means_and_not_the_mean_of_ratios() -> None:
    found = FOUND.distance("tilt", "gap")
    assert found.value == pytest.approx(FOUND.moved[1, 1].sum() / FOUND.others[1].sum())
    low, high = found.interval()
    assert low < found.value < high
    assert (found.n, found.unit) == (N, "images")


def test_the_share_retrieved_is_that_of_the_images() -> None:
    assert FOUND.retrieved("flip").value == pytest.approx(FOUND.nearest[0, 0].mean())


def test_two_models_on_the_same_images_are_paired() -> None:
    other = replace(FOUND, moved=FOUND.moved + 0.5)
    difference = other.distance("flip") - FOUND.distance("flip")
    alone = FOUND.distance("flip").interval()
    low, high = difference.interval()
    assert high - low < alone[1] - alone[0]
    with pytest.raises(InvalidInput, match="unpaired"):
        replace(FOUND, images="others").distance("flip") - FOUND.distance("flip")


@pytest.mark.parametrize(("change", "token"), [("place", "cls"), ("flip", "register")])
def test_what_was_not_measured_is_refused(change: str, token: str) -> None:
    with pytest.raises(InvalidInput, match="one of"):
        FOUND.distance(change, token)


def test_features_that_never_differ_have_no_ratio() -> None:
    with pytest.raises(InvalidInput, match="denominator"):
        replace(FOUND, others=np.zeros((2, N))).distance("flip")


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="distances"):
        replace(FOUND, moved=FOUND.moved[:1])
