"""Planted samples: copies of the source, mirror images, half of each, and objects that are turned or moved alone."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.artifacts.errors import InvalidInput
from harness.data.mirrors import CANDIDATES, candidates, distances
from harness.params.load import load_params
from harness.readings.samples import Generated, Samples

N, M = 12, 4
MADE = candidates(load_params(Path("params.yaml")).of("embedded").data, N, 0)


def samples_of(which: list[str], **changes: object) -> Samples:
    """Samples that are these candidates in turn."""
    drawn = np.stack([MADE[CANDIDATES.index(which[j % len(which)])] for j in range(M)], 1)
    rng = np.random.default_rng(0)
    drawn = (drawn.astype(int) + rng.integers(-5, 6, drawn.shape)).clip(0, 255).astype(np.uint8)
    base = {
        "distance": distances(drawn, MADE).astype(np.float64),
        "candidates": CANDIDATES,
        "sample_class": np.ones((N, M), int),
        "source_class": np.ones(N, int),
        "label": np.ones(N, int),
        "factor": np.random.default_rng(3).uniform(-1, 1, (N, M, 2)),
        "factors": ("flip", "x"),
        "read_out": np.array([0.5, 0.5]),
        "sources": "digest",
    }
    return Samples(**(base | changes))


@pytest.mark.parametrize(
    ("which", "mirrored", "place", "turned"),
    [
        (["source"], 0, 0, 0),
        (["mirror"], 1, 1, 1),
        (["source", "mirror"], 0.5, 0.5, 0.5),
        (["object"], None, 0, 1),
        (["place"], None, 1, 0),
        (["source", "object", "place", "mirror"], None, 0.5, 0.5),
    ],
)
def test_shares_are_those_of_the_planted_samples(which: list[str], mirrored: float | None, place: float, turned: float) -> None:
    found = samples_of(which)
    assert found.place_mirrored().value == place
    assert found.object_mirrored().value == turned
    if mirrored is not None:
        assert found.mirrored().value == mirrored


def test_the_units_are_sources() -> None:
    found = samples_of(["source", "mirror"])
    assert (found.mirrored().n, found.mirrored().unit) == (N, "sources")
    # Each source has both: nothing varies between sources, however much samples do.
    assert found.mirrored().interval() == (0.5, 0.5)


def test_samples_between_an_image_and_its_mirror_image_are_undecided_and_counted() -> None:
    base = samples_of(["source"])
    middle = base.distance.copy()
    middle[:, :2, :2] = [[100.0, 101.0], [101.0, 100.0]]
    found = replace(base, distance=middle)
    assert found.undecided().value == pytest.approx(0.5)
    assert found.mirrored().value == pytest.approx(0.25)
    assert base.undecided().value == 0


def test_classes_are_held_against_the_label_and_against_what_the_judge_sees_in_the_source() -> None:
    classes = np.full((N, M), 3)
    classes[:, 0] = 1
    found = samples_of(["source"], sample_class=classes, source_class=np.where(np.arange(N) % 2, 3, 7))
    assert found.class_kept().value == 1 / M
    assert found.class_as_told().value == (M - 1) / M / 2


def test_what_samples_of_a_source_have_in_common_is_kept() -> None:
    rng = np.random.default_rng(5)
    own, n, m = rng.uniform(-1, 1, 400), 400, 8
    factor = np.stack(
        [np.repeat(own[:, None], m, 1), rng.uniform(-1, 1, (n, m)), own[:, None] * rng.choice([-1, 1], (n, m))], 2
    )
    base = samples_of(["source"])
    many = {"distance": np.ones((n, m, 4)), "sample_class": np.ones((n, m), int)}
    many |= {"source_class": np.ones(n, int), "label": np.ones(n, int)}
    found = replace(base, **many, factor=factor, factors=("x", "y", "flip"), read_out=np.zeros(3))
    assert found.kept("x").value == pytest.approx(1)
    assert found.kept("y").value == pytest.approx(0, abs=0.05)
    # Half of the samples face the other way, whatever the size.
    assert found.kept("flip").value == pytest.approx(0, abs=0.05)
    # Noise of the source's own variance leaves one half of the sum.
    noisy = own[:, None, None] + rng.normal(scale=own.std(), size=(n, m, 1))
    assert replace(found, factor=noisy, factors=("x",), read_out=np.zeros(1)).kept("x").value == pytest.approx(0.5, abs=0.06)
    with pytest.raises(InvalidInput, match="one of x, y, flip"):
        found.kept("colour")


def test_a_candidate_that_is_not_there_and_another_shape_are_refused() -> None:
    two = samples_of(["source"]).distance[:, :, :2]
    found = samples_of(["source"], distance=two, candidates=CANDIDATES[:2])
    assert found.mirrored().value == 0
    with pytest.raises(InvalidInput, match="place"):
        found.place_mirrored()
    with pytest.raises(InvalidInput, match="distance"):
        samples_of(["source"], distance=two)


def test_samples_that_keep_much_less_of_the_place_than_a_linear_regression_finds_are_told() -> None:
    rng = np.random.default_rng(5)
    n, m = 400, 8
    own = rng.uniform(-1, 1, n)
    # Half of the variance between samples is between sources.
    factor = own[:, None, None] + rng.normal(scale=own.std(), size=(n, m, 1))
    many = {"distance": np.ones((n, m, 4)), "sample_class": np.ones((n, m), int)}
    many |= {"source_class": np.ones(n, int), "label": np.ones(n, int)}
    found = replace(samples_of(["source"]), **many, factor=factor, factors=("x",), read_out=np.array([0.65]))
    assert found.lacking() == ""
    assert re.fullmatch(
        r"samples keep 0\.\d\d \[0\.\d\d, 0\.\d\d\] of the place in x, a linear regression finds 0\.90",
        replace(found, read_out=np.array([0.9])).lacking(),
    )
    generated = Generated({"one": found, "other": replace(found, read_out=np.array([0.9]))}.__getitem__, "one")
    assert generated.unfaithful(["one"]) == ""
    assert generated.unfaithful(["one", "other"]).startswith("other: samples keep")
    wrong = replace(found, source_class=np.zeros(n, int))
    assert "have the class that it sees" in Generated(lambda _: wrong, "one").unfaithful([])
