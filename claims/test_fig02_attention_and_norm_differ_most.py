"""Fig. 2 and section 3.1: what differs most between a JE and a REC model are their attention and norms."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from harness.evidence.again import again
from harness.evidence.claim import claim
from harness.evidence.decide import Decision, all_of, controlled, exceeds
from harness.evidence.greatest import greatest_below
from harness.evidence.resampling import LO, MID
from harness.readings.pair import Pair, Pairs


@claim(
    "type-order",
    title="Attention and norm layers differ most",
    quantity="CKA",
    main=True,
    where="3.1, Fig. 2",
    statement="CKA of attention and normalization layers across MAE and MoCo-v3 is much lower than of fully connected ones.",
    reading="same-depth CKA over all blocks: fc1 minus qkv, and fc1 minus the norm before attention; not so untrained",
    margin=0.1,
    published="plot",
    asks="difference",
)
def test_attention_and_norm_differ_most(cka: Pairs, untrained: Sequence[str], margin: float) -> Decision:
    def order(pair: Pair) -> Decision:
        connected = pair.same_depth(types=["mlp.fc1"])
        return all_of([exceeds(connected - pair.same_depth(types=[kind]), margin) for kind in ("attn.qkv", "norm1")])

    control = all_of([order(cka(a, b)) for a, b in combinations(untrained, 2)])
    return controlled(order(cka("moco_v3", "mae")), control, "untrained networks")


@claim(
    "attn-nil",
    title="No MAE attention is like MoCo-v3's",
    quantity="CKA",
    where="3.1, Fig. 2",
    statement="First and intermediate attention layers of MoCo-v3 are entirely dissimilar from any attention layer of MAE.",
    reading="CKA of qkv layers of MoCo-v3 blocks 0-8 with those of MAE: below the margin for each pair of layers; refuted if "
    "the pair that is most alike on a quarter of the minibatches is too much alike on the rest",
    margin=0.2,
    published="plot",
    asks="level",
    blocks=LO + MID,
)
def test_no_rec_attention_is_like_early_je_attention(cka: Pairs, margin: float) -> Decision:
    pair = cka("moco_v3", "mae")
    cells, choose, judge = (part.each_cell(LO + MID, "attn.qkv") for part in (pair, *pair.split()))
    return greatest_below(cells, choose, judge, margin)


test_attention_and_norm_differ_most_beyond_the_pixels = again(test_attention_and_norm_differ_most, "deconfounded")
test_no_rec_attention_is_alike_beyond_the_pixels = again(test_no_rec_attention_is_like_early_je_attention, "deconfounded")
