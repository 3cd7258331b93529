"""Fig. 1 and section 3.1: joint-embedding (JE) models are alike, reconstruction (REC) models are not like them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations

from harness.evidence.again import again
from harness.evidence.claim import claim
from harness.evidence.decide import Decision, all_of, controlled, exceeds
from harness.evidence.measure import Measure
from harness.evidence.resampling import BLOCKS, HI, LO, MID
from harness.readings.pair import Pairs

UNTRAINED = "untrained networks"


@claim(
    "je-je-high",
    title="JE models have similar representations",
    quantity="CKA",
    main=True,
    where="3.1, Fig. 1a",
    statement="The JE learning procedures (MoCo-v3 and DINO) have very similar representations.",
    reading="same-depth CKA, mean over the seven layer types and blocks 0-8, of every two JE models; not so untrained",
    margin=0.6,
    published="plot",
    asks="level",
    blocks=LO + MID,
)
def test_je_models_are_alike(cka: Pairs, je: Sequence[str], untrained: Sequence[str], margin: float) -> Decision:
    def alike(models: Sequence[str]) -> Decision:
        return all_of([exceeds(cka(a, b).same_depth(LO + MID), margin) for a, b in combinations(models, 2)])

    return controlled(alike(je), alike(untrained), UNTRAINED)


@claim(
    "je-rec-low",
    title="REC is unlike both JE models",
    quantity="CKA",
    main=True,
    where="3.1, Fig. 1b, c",
    statement="The REC learning method (MAE) has representations that are very dissimilar to both JE methods.",
    reading="same-depth similarity over all blocks and layer types: each JE model is nearer to another JE model than to MAE",
    margin=0.1,
    published="plot",
    asks="difference",
)
def test_rec_is_unlike_each_je_model(cka: Measure, je: Sequence[str], rec: Sequence[str], margin: float) -> list[Decision]:
    return _nearer_to_je(cka, je, rec, BLOCKS, margin)


@claim(
    "early-onset",
    title="JE and REC differ from early blocks on",
    quantity="CKA",
    main=True,
    where="1",
    statement="The differences between JE and REC representations arise early in the network.",
    reading="je-rec-low over blocks 0-3 alone",
    margin=0.05,
    published="plot",
    asks="difference",
    blocks=LO,
)
def test_je_and_rec_part_early(cka: Measure, je: Sequence[str], rec: Sequence[str], margin: float) -> list[Decision]:
    return _nearer_to_je(cka, je, rec, LO, margin)


@claim(
    "je-diag",
    title="Early JE layers match at equal depth",
    quantity="share of layers",
    where="3.1, Fig. 1a",
    statement="Early and intermediate JE layers show a very strong correspondence across the two methods.",
    reading="share of the layers of blocks 0-8 whose most similar layer of the same type in the other model is at most one "
    "block away, above the margin seen from either model; not so untrained",
    margin=0.8,
    published="plot",
    asks="match",
    blocks=LO + MID,
)
def test_je_layers_match_at_their_own_depth(cka: Pairs, je: Sequence[str], untrained: Sequence[str], margin: float) -> Decision:
    def match(models: Sequence[str]) -> Decision:
        return all_of([exceeds(cka(a, b).row_matches(LO + MID, within=1), margin) for a, b in permutations(models, 2)])

    return controlled(match(je), match(untrained), UNTRAINED)


@claim(
    "je-late-drop",
    title="JE models differ in the last blocks",
    quantity="CKA",
    where="3.1, Fig. 1a",
    statement="The JE models are dissimilar in the later layers (final three transformer blocks).",
    reading="same-depth similarity over all layer types, blocks 0-8 minus 9-11, of every two JE models; not so untrained",
    margin=0.05,
    published="plot",
    asks="difference",
)
def test_je_models_part_in_the_last_blocks(
    cka: Measure, je: Sequence[str], untrained: Sequence[str], margin: float
) -> Decision:
    def drop(models: Sequence[str]) -> Decision:
        pairs = [cka(a, b) for a, b in combinations(models, 2)]
        return all_of([exceeds(pair.same_depth(LO + MID) - pair.same_depth(HI), margin) for pair in pairs])

    return controlled(drop(je), drop(untrained), UNTRAINED)


@claim(
    "rec-quarter",
    title="First quarter of MAE matches half of JE",
    quantity="CKA",
    where="3.1, Fig. 1b, c",
    statement="The first quarter of MAE layers is similar to the first half of JE layers, the last three-quarters to the last.",
    reading="CKA within each layer type, for each JE model: MAE blocks 0-2 are nearer to JE 0-5 than to JE 6-11, and MAE "
    "blocks 3-5, which equal depth would put with the former, and 6-11 nearer to JE 6-11; not so with an untrained network",
    margin=0.05,
    published="plot",
    asks="difference",
)
def test_a_quarter_of_rec_matches_half_of_je(
    cka: Pairs, je: Sequence[str], rec: Sequence[str], untrained: Sequence[str], margin: float
) -> Decision:
    first, last = range(6), range(6, 12)
    nearer = [(range(3), first, last), (range(3, 6), last, first), (range(6, 12), last, first)]

    def matching(models: Sequence[str]) -> Decision:
        pairs = [cka(one, other) for one in rec for other in models]
        gaps = [pair.cells(rows, near) - pair.cells(rows, far) for pair in pairs for rows, near, far in nearer]
        return all_of([exceeds(gap, margin) for gap in gaps])

    return controlled(matching(je), matching(untrained), UNTRAINED)


def _nearer_to_je(
    measure: Measure, je: Sequence[str], rec: Sequence[str], blocks: Sequence[int], margin: float
) -> list[Decision]:
    return [
        exceeds(measure(one, other).same_depth(blocks) - measure(one, far).same_depth(blocks), margin)
        for one, other in permutations(je, 2)
        for far in rec
    ]


test_je_models_are_alike_beyond_the_pixels = again(test_je_models_are_alike, "deconfounded")
test_je_layers_match_beyond_the_pixels = again(test_je_layers_match_at_their_own_depth, "deconfounded")
test_a_quarter_of_rec_matches_beyond_the_pixels = again(test_a_quarter_of_rec_matches_half_of_je, "deconfounded")

test_rec_is_unlike_beyond_the_pixels = again(test_rec_is_unlike_each_je_model, "deconfounded")
test_rec_is_unlike_by_mutual_neighbours = again(test_rec_is_unlike_each_je_model, "mutual", margin=0.0)
test_rec_is_unlike_in_cls = again(test_rec_is_unlike_each_je_model, "cls", margin=0.0)
test_rec_is_unlike_in_gap = again(test_rec_is_unlike_each_je_model, "gap", margin=0.0)

test_je_and_rec_part_early_beyond_the_pixels = again(test_je_and_rec_part_early, "deconfounded")
test_je_and_rec_part_early_by_mutual_neighbours = again(test_je_and_rec_part_early, "mutual", margin=0.0)
test_je_and_rec_part_early_in_cls = again(test_je_and_rec_part_early, "cls", margin=0.0)
test_je_and_rec_part_early_in_gap = again(test_je_and_rec_part_early, "gap", margin=0.0)

test_je_models_part_late_beyond_the_pixels = again(test_je_models_part_in_the_last_blocks, "deconfounded")
test_je_models_part_late_by_mutual_neighbours = again(test_je_models_part_in_the_last_blocks, "mutual", margin=0.0)
test_je_models_part_late_in_cls = again(test_je_models_part_in_the_last_blocks, "cls", margin=0.0)
test_je_models_part_late_in_gap = again(test_je_models_part_in_the_last_blocks, "gap", margin=0.0)
