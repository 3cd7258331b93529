"""Claims speak of twelve blocks; networks have as many as they have."""

from __future__ import annotations

import numpy as np
import pytest

from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import Provenance
from harness.artifacts.store import Arrays
from harness.artifacts.tables import TOKENS, TYPES, pack, unpack
from harness.readings.accuracy import Accuracy
from harness.readings.depth import at_depth, blocks_of, pairs_of
from harness.readings.neighbourhoods import Neighbourhoods
from harness.readings.pair import Pair
from harness.readings.probes import ProbeAccuracy

MADE = Provenance(profile="p", stage="s", parameters="", code="", images="digest")
UNITS = 4


def test_twelve_blocks_stand_for_themselves_and_others_for_those_at_their_depth() -> None:
    assert at_depth(12) == list(range(12))
    assert at_depth(6) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert at_depth(24) == [0, 2, 4, 6, 8, 10, 13, 15, 17, 19, 21, 23]
    for blocks in range(6, 60):
        chosen = at_depth(blocks)
        assert (chosen[0], chosen[-1], len(chosen)) == (0, blocks - 1, 12)
        assert chosen == sorted(chosen)
        assert max(abs(c / (blocks - 1) - i / 11) for i, c in enumerate(chosen)) <= 0.5 / (blocks - 1) + 1e-12


def test_blocks_that_a_claim_tells_apart_must_not_be_one() -> None:
    with pytest.raises(InvalidInput, match=r"5[\s\S]*at least 6"):
        at_depth(5)


def cka(a: int, b: int) -> Arrays:
    """Any self-similarity of two models, of a and b blocks, and another CKA for each of their layers."""
    rng = np.random.default_rng(0)
    t = len(TYPES)
    values = {
        "cross": rng.uniform(0.1, 0.5, (t, UNITS, a, b)),
        "self_a": rng.uniform(1, 2, (t, UNITS, a)),
        "self_b": rng.uniform(1, 2, (t, UNITS, b)),
        "pixels_a": rng.uniform(0, 0.1, (t, UNITS, a)),
        "pixels_b": rng.uniform(0, 0.1, (t, UNITS, b)),
        "pixels": np.ones(UNITS),
        "dead_a": np.zeros(a * t, np.uint8),
        "dead_b": np.zeros(b * t, np.uint8),
        "types": pack(TYPES),
        "layers_a": pack([f"{i}.{kind}" for i in range(a) for kind in TYPES]),
        "layers_b": pack([f"{i}.{kind}" for i in range(b) for kind in TYPES]),
    }
    scale = np.sqrt(np.asarray(values["self_a"], float)[..., :, None] * np.asarray(values["self_b"], float)[..., None, :])
    values["each"] = np.asarray(values.pop("cross"), float) / scale
    return Arrays(values, MADE, "sha")


@pytest.mark.parametrize(("a", "b"), [(24, 12), (12, 6), (7, 24)])
def test_a_pair_of_other_depths_is_read_at_equal_shares_of_them(a: int, b: int) -> None:
    arrays = cka(a, b)
    assert blocks_of(arrays) == (a, b)
    pair, turned = Pair.from_arrays(arrays), Pair.from_arrays(arrays, transposed=True)
    own, other = (np.asarray(arrays[name]) for name in ("self_a", "self_b"))
    cross = np.asarray(arrays["each"]) * np.sqrt(own[..., :, None] * other[..., None, :])
    for i in (0, 5, 11):
        for j in (0, 4, 11):
            x, y = at_depth(a)[i], at_depth(b)[j]
            top, bottom = cross[2, :, x, y].sum(), own[2, :, x].sum() * other[2, :, y].sum()
            assert pair.cells([i], [j], [TYPES[2]]).value == pytest.approx(top / np.sqrt(bottom))
            assert turned.cells([j], [i], [TYPES[2]]).value == pytest.approx(top / np.sqrt(bottom))
    assert pair.deconfounded().same_depth().value < pair.same_depth().value


def test_a_dead_layer_is_where_its_block_is() -> None:
    arrays = cka(24, 12)
    np.asarray(arrays["dead_a"])[13 * len(TYPES) + 2] = 1
    pair = Pair.from_arrays(arrays)
    assert pair.dead_a is not None
    assert np.argwhere(pair.dead_a).tolist() == [[2, 6]]


def test_layers_that_are_no_whole_blocks_are_refused() -> None:
    broken = dict(cka(12, 12).values) | {"layers_b": pack(unpack(cka(12, 12)["layers_b"])[1:])}
    with pytest.raises(InvalidInput, match="each whole"):
        Pair.from_arrays(Arrays(broken, MADE, "sha"))


def test_second_measures_and_votes_are_read_at_the_same_depths() -> None:
    rng = np.random.default_rng(1)
    cross = rng.uniform(0.1, 0.5, (2, UNITS, 24, 6))
    subsets = {"each": cross, "self_a": np.ones((2, UNITS, 24)), "self_b": np.ones((2, UNITS, 6)), "tokens": pack(TOKENS)}
    pair = Pair.from_subsets(Arrays(subsets, MADE, "sha"), "gap")
    assert pair.cells([7], [7]).value == pytest.approx(cross[1, :, at_depth(24)[7], at_depth(6)[7]].mean())
    shared = rng.integers(11, size=(2, 6, 50))
    found = Neighbourhoods.from_arrays(Arrays({"common": shared, "k": np.array([10]), "tokens": pack(TOKENS)}, MADE, "sha"))
    np.testing.assert_allclose(found.share, shared[:, at_depth(6)] / 10)
    vote = rng.integers(3, size=(2, 25, 50))
    label = np.arange(50) % 3
    votes = {"vote": vote, "label": label, "probe": label, "probe_vote": label, "tokens": pack(TOKENS)}
    accuracy = Accuracy.from_arrays(Arrays(votes, MADE, "sha"))
    assert accuracy.at("cls", 6).value == pytest.approx(100 * (vote[0, 13] == label).mean())
    assert accuracy.final("gap").value == pytest.approx(100 * (vote[1, 24] == label).mean())


def test_the_last_block_of_any_network_is_the_one_that_was_joined_to_itself() -> None:
    sets = ["final", *(f"final+{i}" for i in range(24)), "all"]
    right = {name: np.zeros((2, 10), bool) for name in sets}
    accuracy = ProbeAccuracy(right, {name: i / 100 for i, name in enumerate(sets)}, "large", "images")
    assert accuracy.chosen("wide") == "final+23"
    # The last of those that are chosen among, since the hold-out grows along the list.
    assert accuracy.chosen("pair") == "final+22"
    assert pairs_of(sets[::-1]) == sets[1:25]
