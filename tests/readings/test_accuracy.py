"""Accuracy evidence: against naive loops, pairing, halves."""

from dataclasses import replace

import numpy as np
import pytest

from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import Provenance
from harness.artifacts.store import Arrays
from harness.artifacts.tables import TOKENS, pack
from harness.evidence import resampling as module
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import DRAWS, SEED, bootstrap_counts
from harness.readings.accuracy import Accuracy

N = 101


def artifact(seed=0):
    rng = np.random.default_rng(seed)
    values = {
        "tokens": pack(TOKENS),
        "label": rng.integers(0, 3, N).astype(np.int16),
        "vote": rng.integers(0, 3, (2, 13, N)).astype(np.int16),
        "probe": rng.integers(0, 3, N).astype(np.int16),
        "probe_vote": rng.integers(0, 3, N).astype(np.int16),
    }
    return Arrays(values, Provenance(profile="p", stage="s", parameters="", code="", images="digest"), "sha")


ASKED = [
    (lambda k: k.at("cls", 0), lambda v: v["vote"][0, 0]),
    (lambda k: k.at("gap", 11), lambda v: v["vote"][1, 11]),
    (lambda k: k.final("cls"), lambda v: v["vote"][0, 12]),
    (lambda k: k.final("gap"), lambda v: v["vote"][1, 12]),
    (lambda k: k.probe(), lambda v: v["probe"]),
    (lambda k: k.probe_neighbours(), lambda v: v["probe_vote"]),
]


@pytest.mark.parametrize(("ask", "vote"), ASKED)
def test_estimates_equal_naive_loops(ask, vote):
    arrays = artifact()
    estimate = ask(Accuracy.from_arrays(arrays))
    right = [100.0 * (a == b) for a, b in zip(vote(arrays), arrays["label"], strict=True)]
    counts = bootstrap_counts(SEED, N, DRAWS)
    assert estimate.value == pytest.approx(np.mean(right))
    for draw in (0, DRAWS - 1):
        assert estimate.draws[draw] == pytest.approx(
            np.mean([x for x, c in zip(right, counts[draw], strict=True) for _ in range(c)])
        )
    for left in (0, 50):
        assert estimate.jackknife[left] == pytest.approx(np.mean(np.delete(right, left)))
    assert (estimate.n, estimate.unit) == (N, "images")


def test_it_is_the_bootstrap_of_every_other_estimate():
    arrays = artifact()
    right = 100.0 * (arrays["probe"] == arrays["label"])
    other = Estimate.resample(lambda w: w @ right / N, N, seed=SEED, unit="images", key="digest", draws=DRAWS)
    difference = Accuracy.from_arrays(arrays).probe() - other
    assert difference.draws == pytest.approx(0, abs=1e-9)
    assert difference.jackknife == pytest.approx(0, abs=1e-9)


def test_blocks_of_draws_do_not_change_the_result(monkeypatch):
    whole = Accuracy.from_arrays(artifact()).at("gap", 4).draws
    monkeypatch.setattr(module, "BLOCK", 7 * N)
    assert Accuracy.from_arrays(artifact()).at("gap", 4).draws == pytest.approx(whole)


def test_models_on_the_same_images_are_paired():
    one, other = Accuracy.from_arrays(artifact()), Accuracy.from_arrays(artifact(1))
    difference = one.final("cls") - other.final("cls")
    assert difference.value == pytest.approx(one.final("cls").value - other.final("cls").value)
    with pytest.raises(InvalidInput, match="unpaired"):
        one.final("cls") - replace(other, images="another list").final("cls")


def test_halves_are_disjoint_whole_and_unpaired():
    whole = Accuracy.from_arrays(artifact())
    even, odd = whole.halves()
    assert (even.right == whole.right[..., ::2]).all()
    assert (odd.right == whole.right[..., 1::2]).all()
    assert (odd.probe_right == whole.probe_right[1::2]).all()
    assert (odd.probe_neighbours_right == whole.probe_neighbours_right[1::2]).all()
    assert even.at("cls", 0).n + odd.at("cls", 0).n == N
    with pytest.raises(InvalidInput, match="unpaired"):
        even.at("cls", 0) - odd.at("cls", 0)


def test_what_is_not_there_is_refused():
    whole = Accuracy.from_arrays(artifact())
    for block in (-1, 12):
        with pytest.raises(InvalidInput, match="0 to 11"):
            whole.at("cls", block)
    with pytest.raises(InvalidInput, match="cls, gap"):
        whole.final("patch")
    with pytest.raises(InvalidInput, match="tokens, blocks and norm"):
        replace(whole, right=whole.right[:, :12])
    with pytest.raises(InvalidInput, match="at least 2"):
        Accuracy(whole.right[..., :1], whole.probe_right[:1], whole.probe_neighbours_right[:1], "digest")
