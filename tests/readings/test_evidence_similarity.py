"""Similarity evidence: the resampled CKA against naive loops, pairing, dead layers, what the pixels explain."""

from dataclasses import replace

import numpy as np
import pytest

from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import Provenance
from harness.artifacts.store import Arrays
from harness.artifacts.tables import TOKENS, TYPES, pack
from harness.evidence.resampling import BLOCKS, DRAWS, HI, LO, MID, SEED, bootstrap_counts
from harness.maths.cka import minibatch_cka
from harness.readings.neighbourhoods import Neighbourhoods
from harness.readings.pair import Pair
from harness.readings.sweep import Sweep

K, SIZE = 8, 60


def banks(seed=0, shared=0.0, k=K, size=SIZE):
    """Grams (type, k, 12, size) of two models and (k, size) of the pixels; `shared`: how much of each the pixels are."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(size=(k, size))
    a, b = rng.normal(size=(2, len(TYPES), k, 12, size))
    own = np.sqrt(1 - shared**2)
    pixel = pixels[None, :, None, :]
    return own * a + shared * pixel, own * b + shared * pixel, pixels


def pair_of(a, b, pixels, **options):
    def product(x, y):
        return np.einsum("tkap,tkbp->tkab", x, y)

    return Pair(
        product(a, b),
        (a**2).sum(-1),
        (b**2).sum(-1),
        "digest",
        pixels_a=np.einsum("tkap,kp->tka", a, pixels),
        pixels_b=np.einsum("tkbp,kp->tkb", b, pixels),
        pixels=(pixels**2).sum(-1),
        **options,
    )


def some_pair(**options):
    return pair_of(*banks(), **options)


def naive(pair, rows, adjusted=False):
    """(type, 12, 12): CKA of minibatches taken as often as they stand in rows, by loops."""
    out = np.empty((len(TYPES), 12, 12))
    pp = np.mean([pair.pixels[i] for i in rows])
    for t, i, j in np.ndindex(out.shape):
        kl, kk, ll = (
            np.mean([x[r] for r in rows]) for x in (pair.cross[t, :, i, j], pair.self_a[t, :, i], pair.self_b[t, :, j])
        )
        if adjusted:
            kp, lp = (np.mean([x[r] for r in rows]) for x in (pair.pixels_a[t, :, i], pair.pixels_b[t, :, j]))
            kl, kk, ll = kl - kp * lp / pp, kk - kp**2 / pp, ll - lp**2 / pp
        out[t, i, j] = kl / np.sqrt(kk * ll)
    return out


STATISTICS = [
    (lambda p: p.same_depth(LO), lambda c: np.mean([c[t, i, i] for t in range(7) for i in LO])),
    (lambda p: p.same_depth(types=["attn.qkv"]), lambda c: np.mean([c[1, i, i] for i in range(12)])),
    (lambda p: p.cells(range(3), HI), lambda c: np.mean([c[t, i, j] for t in range(7) for i in range(3) for j in HI])),
    (lambda p: p.each_cell(MID, "norm1")[13], lambda c: c[0, 5, 1]),
    (
        lambda p: p.row_matches(MID),
        lambda c: np.mean([abs(int(np.argmax(c[t, i])) - i) <= 1 for t in range(7) for i in MID]),
    ),
]


@pytest.mark.parametrize("adjusted", [False, True])
@pytest.mark.parametrize(("statistic", "expected"), STATISTICS)
def test_draws_and_jackknife_equal_naive_loops(statistic, expected, adjusted):
    pair = some_pair()
    estimate = statistic(pair.deconfounded() if adjusted else pair)
    counts = bootstrap_counts(SEED, K, DRAWS)
    assert estimate.value == pytest.approx(expected(naive(pair, range(K), adjusted)))
    for draw in (0, 7, DRAWS - 1):
        rows = [i for i in range(K) for _ in range(counts[draw, i])]
        assert estimate.draws[draw] == pytest.approx(expected(naive(pair, rows, adjusted)))
    for left in (0, K - 1):
        assert estimate.jackknife[left] == pytest.approx(expected(naive(pair, [i for i in range(K) if i != left], adjusted)))
    assert (len(estimate.draws), estimate.n, estimate.unit) == (DRAWS, K, "minibatches")


def test_cka_is_that_of_the_maths():
    pair = some_pair()
    counts = bootstrap_counts(SEED, K, DRAWS)
    expected = [minibatch_cka(pair.cross[t], pair.self_a[t], pair.self_b[t], counts) for t in range(7)]
    assert pair.cells([3], [5], [TYPES[6]]).draws == pytest.approx(expected[6][:, 3, 5], rel=1e-12)
    assert pair.cells().draws == pytest.approx(np.mean(expected, axis=(0, 2, 3)), rel=1e-9)


def test_pairs_on_the_same_images_are_paired_and_on_others_are_not():
    one, same = some_pair(), pair_of(*banks(seed=1))
    noise = (one.same_depth() - one.transposed().same_depth()).draws
    assert noise == pytest.approx(0, abs=1e-12)
    assert (one.same_depth() - same.same_depth()).n == K
    with pytest.raises(InvalidInput, match="unpaired"):
        one.same_depth() - replace(same, images="another list").same_depth()
    with pytest.raises(InvalidInput, match="unpaired"):
        one.same_depth() - replace(same, unit="subsets").same_depth()


def test_transposed_swaps_rows_and_columns():
    pair = some_pair(names=("one", "two"))
    assert pair.transposed().cells([2], [9]).value == pytest.approx(pair.cells([9], [2]).value)
    assert pair.transposed().names == ("two", "one")
    assert pair.deconfounded().transposed().cells([2], [9]).value == pytest.approx(pair.deconfounded().cells([9], [2]).value)
    back = pair.transposed().transposed()
    assert (back.cross == pair.cross).all()
    assert (back.pixels_b == pair.pixels_b).all()


def test_a_pair_with_only_the_pixels_in_common_is_unlike_beyond_them():
    pair = pair_of(*banks(shared=0.9, k=32, size=496))
    assert pair.same_depth().value == pytest.approx(0.81, abs=0.03)
    low, high = pair.deconfounded().same_depth().interval()
    assert low < 0 < high
    assert high - low < 0.05


def test_what_is_common_beside_the_pixels_remains():
    a, _, pixels = banks(shared=0.6, k=32, size=496)
    pair = pair_of(a, a, pixels)
    assert pair.deconfounded().cells([4], [4]).value == pytest.approx(1)
    assert pair.deconfounded().cells([4], [5]).value == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize(("side", "name"), [("dead_a", "one"), ("dead_b", "two")])
def test_a_dead_layer_is_named_where_it_is_asked_for(side, name):
    dead = np.zeros((7, 12), bool)
    dead[2, 5] = True
    pair = some_pair(names=("one", "two"), **{side: dead})
    for ask in (pair.same_depth, pair.deconfounded().same_depth, lambda: pair.cells([5], [5], ["attn.proj"])):
        with pytest.raises(InvalidInput, match=rf"attn\.proj of block 5 of {name}[\s\S]*does not vary"):
            ask()
    assert np.isfinite(pair.same_depth(LO).draws).all()
    assert np.isfinite(pair.same_depth(types=["attn.qkv"]).draws).all()
    assert np.isfinite((pair.cells([5], [6]) if side == "dead_b" else pair.cells([6], [5])).draws).all()


def test_a_layer_whose_variance_vanishes_in_a_resample_is_dead():
    pair = some_pair()
    own = pair.self_b.copy()
    own[0, 1:, 3] = -0.1
    with pytest.raises(InvalidInput, match=r"norm1 of block 3 of the second model[\s\S]*not positive in every resample"):
        replace(pair, self_b=own).same_depth()


def test_a_layer_that_is_the_pixels_has_nothing_beyond_them():
    a, b, pixels = banks()
    a[4, :, 7] = pixels
    with pytest.raises(InvalidInput, match=r"mlp\.fc1 of block 7 of the first model"):
        pair_of(a, b, pixels).deconfounded().cells([7])


def test_what_cannot_be_asked_is_refused():
    pair = some_pair()
    with pytest.raises(InvalidInput, match="types"):
        pair.same_depth(types=["attn"])
    with pytest.raises(InvalidInput, match="statistic"):
        pair.statistic(lambda cka: cka)
    bare = Pair(pair.cross, pair.self_a, pair.self_b, "digest")
    with pytest.raises(InvalidInput, match="pixels"):
        bare.deconfounded()
    with pytest.raises(InvalidInput, match="12 blocks"):
        Pair(pair.cross[:, :, :6, :6], pair.self_a[:, :, :6], pair.self_b[:, :, :6], "digest")
    with pytest.raises(InvalidInput, match="at least 2"):
        Pair(pair.cross[:, :1], pair.self_a[:, :1], pair.self_b[:, :1], "digest")


def cka_artifact(pair, names=None):
    names = names or [f"{block}.{kind}" for block in BLOCKS for kind in TYPES]
    dead = np.zeros(84, np.uint8)
    dead[3 * 7 + 1] = 1  # attn.qkv of block 3
    columns = ("cross", "self_a", "self_b", "pixels_a", "pixels_b", "pixels")
    values = {name: np.asarray(getattr(pair, name), np.float32) for name in columns}
    scale = np.sqrt(np.asarray(values["self_a"], float)[..., :, None] * np.asarray(values["self_b"], float)[..., None, :])
    values["each"] = np.asarray(values.pop("cross"), float) / scale
    values |= {
        "dead_a": dead,
        "dead_b": np.zeros(84, np.uint8),
        "layers_a": pack(names),
        "layers_b": pack(names),
        "types": pack(TYPES),
    }
    return Arrays(values, provenance(), "sha")


def provenance():
    return Provenance(profile="p", stage="s", parameters="", code="", images="digest")


def test_a_pair_from_its_artifact():
    pair = some_pair()
    read = Pair.from_arrays(cka_artifact(pair), names=("one", "two"))
    assert read.images == "digest"
    assert read.cross.dtype == np.float64
    assert read.same_depth(MID).draws == pytest.approx(pair.same_depth(MID).draws, abs=1e-7)
    assert np.argwhere(read.dead_a).tolist() == [[1, 3]]
    assert not read.dead_b.any()
    turned = Pair.from_arrays(cka_artifact(pair), names=("two", "one"), transposed=True)
    assert turned.names == ("two", "one")
    assert np.argwhere(turned.dead_b).tolist() == [[1, 3]]
    assert turned.cells([1], [2]).value == pytest.approx(pair.cells([2], [1]).value, rel=1e-5)


def test_too_few_blocks_are_refused():
    five = [f"{block}.{kind}" for block in range(5) for kind in TYPES]
    with pytest.raises(InvalidInput, match=r"blocks[\s\S]*5[\s\S]*at least 6"):
        Pair.from_arrays(cka_artifact(some_pair(), five))


def similarity_artifact(seed=0):
    rng = np.random.default_rng(seed)
    cross = rng.normal(size=(2, 16, 12, 12)).astype(np.float32)
    own_a, own_b = rng.uniform(2, 4, size=(2, 2, 16, 12)).astype(np.float32)
    common = rng.integers(0, 11, size=(2, 12, 50)).astype(np.uint8)
    values = {"self_a": own_a, "self_b": own_b, "common": common, "k": np.array([10]), "tokens": pack(TOKENS)}
    values["each"] = cross / np.sqrt(own_a[..., :, None] * own_b[..., None, :])
    return Arrays(values, provenance(), "sha")


@pytest.mark.parametrize(("token", "index"), [("cls", 0), ("gap", 1)])
def test_debiased_cka_by_token(token, index):
    arrays = similarity_artifact()
    pair = Pair.from_subsets(arrays, token)
    own_a, own_b = (arrays[name][index].astype(float) for name in ("self_a", "self_b"))
    expected = minibatch_cka(arrays["each"][index] * np.sqrt(own_a[..., :, None] * own_b[..., None, :]), own_a, own_b)
    assert pair.cells([2], [7]).value == pytest.approx(expected[2, 7])
    assert Pair.from_subsets(arrays, token, transposed=True).cells([7], [2]).value == pytest.approx(expected[2, 7])
    assert (pair.same_depth().unit, pair.same_depth().n) == ("subsets", 16)


def test_what_another_lacks_is_left_out_of_both():
    pair = Pair.from_arrays(cka_artifact(some_pair()))
    part = pair.like(replace(pair, types=("a", "b", "c", "d", "e", "f", "block")))
    assert part.types == ("block",)
    assert part.same_depth().draws == pytest.approx(pair.same_depth(types=["block"]).draws)
    assert part.deconfounded().same_depth().value == pytest.approx(pair.deconfounded().same_depth(types=["block"]).value)
    assert pair.like(pair) is pair

    both = Neighbourhoods.from_arrays(similarity_artifact())
    gap = replace(both, share=both.share[1:], tokens=("gap",))
    assert both.like(gap).same_depth().value == pytest.approx(gap.same_depth().value) != both.same_depth().value
    assert both.like(both) is both


def test_mutual_neighbours_by_image():
    arrays = similarity_artifact()
    estimate = Neighbourhoods.from_arrays(arrays).same_depth(LO)
    share = (arrays["common"] / 10)[:, :4].mean((0, 1))
    counts = bootstrap_counts(SEED, 50, DRAWS)
    assert estimate.value == pytest.approx(share.mean())
    assert estimate.draws[11] == pytest.approx(np.repeat(share, counts[11]).mean())
    assert (estimate.unit, estimate.n) == ("images", 50)
    with pytest.raises(InvalidInput, match="12 blocks"):
        Neighbourhoods(share[0], "digest")


def test_the_sweep_against_a_loop():
    rng = np.random.default_rng(4)
    batch, biased = rng.normal(size=(2, 5, 6, 3))
    count = rng.normal(size=(5, 2, 3))
    values = {"batch": batch, "biased": biased, "count": count}
    sweep = Sweep.from_arrays(Arrays(values, provenance(), "sha"))

    def expected(batch, rows):
        parts = [(x, size, layer) for x in (batch, count) for size in range(1, x.shape[1]) for layer in range(3)]
        changes = [np.mean([x[r, size, layer] - x[r, 0, layer] for r in rows]) for x, size, layer in parts]
        return pytest.approx([sign * change for change in changes for sign in (1, -1)])

    for made, source in ((sweep, batch), (sweep.of_biased_hsic(), biased)):
        changes = made.each_change()
        drawn = np.repeat(np.arange(5), bootstrap_counts(SEED, 5, DRAWS)[3])
        assert [change.value for change in changes] == expected(source, range(5))
        assert [change.draws[3] for change in changes] == expected(source, drawn)
        assert [change.jackknife[1] for change in changes] == expected(source, [0, 2, 3, 4])


def test_a_split_sweep_is_disjoint_and_whole():
    batch, count = np.zeros((8, 3, 2)), np.zeros((8, 2, 2))
    batch[:, 2, 1], batch[::4, 2, 1] = 0.1, -0.3
    choose, judge = Sweep(batch, batch, count, "digest").split()
    # Size 1 of layers 0 and 1, then size 2 of both, each with its negative.
    assert [part.each_change()[6].value for part in (choose, judge)] == pytest.approx([-0.3, 0.1])
    assert [part.each_change()[6].n for part in (choose, judge)] == [2, 6]
    with pytest.raises(InvalidInput, match="unpaired"):
        choose.each_change()[0] - Sweep(batch[:2], batch[:2], count[:2], "digest").each_change()[0]


def test_a_split_pair_is_disjoint_and_whole():
    pair = some_pair().deconfounded()
    assert K == 8
    for part, own in zip(pair.split(), ([0, 4], [1, 2, 3, 5, 6, 7]), strict=True):
        assert part.cells([3], [4]).value == pytest.approx(naive(pair, own, adjusted=True)[:, 3, 4].mean())
        assert part.pixels.shape == (len(own),)
        assert part.images != pair.images


def test_a_sweep_over_one_size_shows_nothing():
    with pytest.raises(InvalidInput, match="2 or more"):
        Sweep(np.zeros((4, 1, 3)), np.zeros((4, 1, 3)), np.zeros((4, 2, 3)), "digest")
