"""Probe evidence: means and intervals by plain arithmetic, choices on the hold-out alone, printed numbers by the same names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import Provenance
from harness.artifacts.store import Arrays
from harness.artifacts.tables import pack
from harness.evidence.resampling import DRAWS, SEED, bootstrap_counts
from harness.readings.probes import MeasuredProbes, PrintedProbes, ProbeAccuracy, difference, gain
from harness.readings.published import load

SETS = ["final", "final+0", "final+7", "final+11", "all", "depth2", "depth3", "depth5"]
N = 120


def accuracy(name: str = "one", seed: int = 0, **holdout: float) -> ProbeAccuracy:
    rng = np.random.default_rng(seed)
    right = {s: rng.uniform(size=(5, N)) < 0.3 + 0.05 * i for i, s in enumerate(SETS)}
    return ProbeAccuracy(right, dict.fromkeys(SETS, 0.5) | {k.replace("_", "+"): v for k, v in holdout.items()}, name, "images")


def test_an_estimate_is_the_mean_over_images_and_runs() -> None:
    one = accuracy()
    estimate = one.estimate("depth3")
    assert estimate.value == pytest.approx(100 * one.right["depth3"].mean())
    assert (estimate.n, estimate.unit) == (N, "images")
    assert estimate.jackknife is not None
    assert estimate.jackknife[17] == pytest.approx(100 * np.delete(one.right["depth3"], 17, axis=1).mean())
    counts = bootstrap_counts(SEED, N, DRAWS)
    over_images = 100 * (counts[:50] @ one.right["depth3"].T) / N
    # Each draw is a mean over a sample of the five runs, so it lies between the least and the most of them.
    assert (estimate.draws[:50] >= over_images.min(1) - 1e-9).all()
    assert (estimate.draws[:50] <= over_images.max(1) + 1e-9).all()


def test_configurations_that_differ_widen_the_interval() -> None:
    one = accuracy()
    level = one.right["final"][0]
    same = ProbeAccuracy({"final": np.stack([level] * 5)}, {"final": 0.5}, "one", "images")
    apart = np.stack([level | (np.arange(N) < 12 * i) for i in range(5)])
    other = ProbeAccuracy({"final": apart}, {"final": 0.5}, "one", "images")
    narrow, wide = (np.subtract(*a.estimate("final").interval()[::-1]) for a in (same, other))
    assert wide > narrow
    expected = 100 * bootstrap_counts(SEED, N, DRAWS) @ level / N
    np.testing.assert_allclose(same.estimate("final").draws, expected)


def test_projections_count_as_one() -> None:
    one = accuracy()
    sets = {f"projected{i}": one.right[name] for i, name in enumerate(("final", "final+7", "all"))}
    both = ProbeAccuracy({**one.right, **sets}, dict.fromkeys([*SETS, *sets], 0.5), "one", "images")
    found = both.estimate("projected")
    assert found.value == pytest.approx(100 * np.mean([right.mean() for right in sets.values()]))
    assert found.jackknife is not None
    assert found.jackknife[3] == pytest.approx(100 * np.mean([np.delete(right, 3, axis=1).mean() for right in sets.values()]))
    with pytest.raises(InvalidInput, match="projected"):
        one.estimate("projected")


def test_a_code_length_is_the_mean_over_training_images() -> None:
    code = {name: np.random.default_rng(i).gamma(2.0, 0.2, size=80) for i, name in enumerate(("final", "all"))}
    one = ProbeAccuracy(accuracy().right, dict.fromkeys(SETS, 0.5), "one", "images", code)
    probes = MeasuredProbes(lambda _: one)
    saved = probes.code("one", "final") - probes.code("one", "all")
    difference = 100 * (code["final"] - code["all"])
    assert saved.value == pytest.approx(difference.mean())
    assert (saved.n, saved.unit) == (80, "training images")
    np.testing.assert_allclose(saved.draws, bootstrap_counts(SEED, 80, DRAWS) @ difference / 80, atol=1e-9)
    assert saved.jackknife is not None
    assert saved.jackknife[5] == pytest.approx(np.delete(difference, 5).mean())
    with pytest.raises(InvalidInput, match="depth2"):
        probes.code("one", "depth2")


def test_the_interval_covers_the_truth() -> None:
    """Images and configurations both vary: 95 % of the intervals hold the mean over both."""
    rng = np.random.default_rng(1)
    held = 0
    for i in range(200):
        ease, shift = rng.uniform(size=N), rng.normal(scale=0.03, size=(5, 1))
        a = ProbeAccuracy({"final": ease + shift < 0.6}, {"final": 0.5}, f"model{i}", "images")
        low, high = a.estimate("final").interval()
        held += low <= 60 <= high
    assert held >= 180


def test_models_are_paired_over_images() -> None:
    one = accuracy("one")
    other = ProbeAccuracy(one.right, one.holdout, "other", "images")
    # Where the five configurations agree, equal outcomes leave nothing.
    agreeing = [
        ProbeAccuracy({name: array[[0] * 5] for name, array in one.right.items()}, one.holdout, name, "images")
        for name in ("one", "other")
    ]
    same = difference(
        MeasuredProbes(dict(zip(("one", "other"), agreeing, strict=True)).__getitem__), ("one", "all"), ("other", "all")
    )
    np.testing.assert_allclose(same.draws, 0, atol=1e-9)
    probes = MeasuredProbes({"one": one, "other": other}.__getitem__)
    gap = difference(probes, ("one", "all"), ("other", "all"))
    assert gap.value == pytest.approx(0)
    # Where they do not, the two samples of configurations differ.
    assert gap.draws.std() > 0
    assert gain(probes, "one", "all").value == pytest.approx(100 * float(one.right["all"].mean() - one.right["final"].mean()))


def test_what_is_best_is_chosen_on_the_holdout() -> None:
    assert accuracy(final_0=0.6).chosen("pair") == "final+0"
    assert accuracy(final_7=0.6).chosen("pair") == "final+7"
    # The final token joined to itself is the control and never the best block.
    assert accuracy(final_11=0.9, final_7=0.6).chosen("pair") == "final+7"
    assert accuracy(depth5=0.6).chosen("deep") == "depth5"
    assert accuracy(depth2=0.9, depth3=0.6).chosen("deep") == "depth3"
    assert accuracy().chosen("wide") == "final+11"


def test_features_that_were_not_probed_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"probes of one[\s\S]*dept3[\s\S]*depth3"):
        accuracy().estimate("dept3")
    with pytest.raises(InvalidInput, match="outcomes"):
        ProbeAccuracy({}, {}, "one", "images")


def test_from_an_artifact() -> None:
    rng = np.random.default_rng(2)
    right = rng.uniform(size=(2, 5, 21)) < 0.5
    holdout = rng.uniform(size=(2, 9)).astype(np.float32)
    best = np.stack([np.argsort(-row)[:5] for row in holdout])
    values = {"right": np.packbits(right, axis=2), "holdout": holdout, "best": best, "label": np.zeros(21, np.int16)}
    provenance = Provenance(profile="p", stage="probe", parameters="", code="", images="digest")
    values |= {"sets": pack(["final", "all"]), "coded": pack(["all"]), "code": np.full((1, 9), 0.5, np.float32)}
    read = ProbeAccuracy.from_arrays(Arrays(values, provenance, "sha"), "mae")
    np.testing.assert_array_equal(read.right["all"], right[1])
    assert read.holdout["final"] == pytest.approx(np.sort(holdout[0])[-5:].mean())
    assert (read.name, read.images) == ("mae", "digest")
    assert list(read.code) == ["all"]
    assert read.code_length("all").value == 50.0


def test_printed_probes_are_the_papers_numbers() -> None:
    printed = PrintedProbes(load(Path(ROOT) / "claims" / "published.toml"))
    assert difference(printed, ("dino", "final"), ("mae", "final")).value == pytest.approx(77.78 - 67.73)
    # What cancels is not counted: a gain that is printed is as sure as its digits.
    assert gain(printed, "mae", "depth3").value == pytest.approx(1.33)
    assert gain(printed, "mae", "depth3").unit == "printed numbers"
    assert gain(printed, "moco_v3", "depth2").value == pytest.approx(0.44)
    assert difference(printed, ("dino", "final"), ("mae", "depth3")).value == pytest.approx(77.78 - 67.73 - 1.33)
    with pytest.raises(InvalidInput, match=r"depth2 of mae[\s\S]*printed"):
        gain(printed, "mae", "depth2")
