"""Fig. 9, 10, A2 and A3 and section 3.3: fine-tuning makes reconstruction models like joint-embedding ones.

`mae_ft` is `mae` after fine-tuning. Fig. 10 and A3 go by layer type: there both models are fine-tuned, or neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from harness.evidence.again import again
from harness.evidence.claim import claim
from harness.evidence.decide import Decision, all_of, controlled, equivalent, exceeds
from harness.evidence.estimate import Estimate, mean
from harness.evidence.measure import Measure
from harness.evidence.resampling import BLOCKS, HI, LO, MID
from harness.readings.pair import Pairs

# So far may similarity move for it to persist (Fig. 9).
PERSISTS = 0.1
ATTENTION = ("attn.qkv", "norm2")


@claim(
    "ft-to-moco",
    title="Fine-tuning moves MAE towards MoCo-v3",
    quantity="CKA",
    main=True,
    where="3.3, Fig. 9",
    statement="Fine-tuning MAE makes it more similar to a pre-trained MoCo-v3.",
    reading="same-depth similarity to MoCo-v3 over all blocks and layer types: of fine-tuned MAE minus of pre-trained MAE",
    margin=0.1,
    asks="difference",
)
def test_fine_tuning_brings_rec_nearer_to_moco(cka: Measure, margin: float) -> Decision:
    return exceeds(nearer(cka, "moco_v3"), margin)


@claim(
    "ft-near-moco",
    title="Fine-tuned MAE is like MoCo-v3",
    quantity="CKA",
    where="3.3, Fig. 9",
    statement="Fine-tuned MAE features are highly similar to those of a pre-trained MoCo-v3.",
    reading="same-depth CKA of fine-tuned MAE and pre-trained MoCo-v3, mean over all blocks and layer types",
    margin=0.6,
    asks="level",
)
def test_fine_tuned_rec_is_like_moco(cka: Pairs, margin: float) -> Decision:
    return exceeds(cka("mae_ft", "moco_v3").same_depth(), margin)


@claim(
    "ft-both",
    title="Both fine-tuned, MAE is like MoCo-v3",
    quantity="CKA",
    where="3.3, Fig. 9",
    statement="The similarity of fine-tuned MAE and MoCo-v3 remains after fine-tuning MoCo-v3 too, except in later layers.",
    reading="same-depth similarity of fine-tuned MAE to MoCo-v3, over all layer types, pre-trained minus fine-tuned MoCo-v3: "
    "within 0.1 of 0 over blocks 0-8, and above the margin over blocks 9-11",
    margin=0.0,
    asks="difference",
)
def test_likeness_to_moco_persists_but_late(cka: Measure, margin: float) -> list[Decision]:
    return persists(cka, "moco_v3", margin)


@claim(
    "ft-to-dino",
    title="Fine-tuning moves MAE towards DINO",
    quantity="CKA",
    where="3.3, C.1, Fig. A2",
    statement="Fine-tuning MAE makes it more similar to a pre-trained DINO.",
    reading="ft-to-moco with DINO in the place of MoCo-v3",
    margin=0.1,
    asks="difference",
)
def test_fine_tuning_brings_rec_nearer_to_dino(cka: Measure, margin: float) -> Decision:
    return exceeds(nearer(cka, "dino"), margin)


@claim(
    "ft-near-dino",
    title="Fine-tuned MAE is like DINO",
    quantity="CKA",
    where="3.3, C.1, Fig. A2",
    statement="Fine-tuned MAE becomes very similar to a pre-trained DINO.",
    reading="ft-near-moco with DINO in the place of MoCo-v3",
    margin=0.6,
    asks="level",
)
def test_fine_tuned_rec_is_like_dino(cka: Pairs, margin: float) -> Decision:
    return exceeds(cka("mae_ft", "dino").same_depth(), margin)


@claim(
    "ft-both-dino",
    title="Both fine-tuned, MAE is like DINO",
    quantity="CKA",
    where="3.3, C.1, Fig. A2",
    statement="The similarity of fine-tuned MAE and DINO persists with the fine-tuned DINO, except in later layers.",
    reading="ft-both with DINO in the place of MoCo-v3",
    margin=0.0,
    asks="difference",
)
def test_likeness_to_dino_persists_but_late(cka: Measure, margin: float) -> list[Decision]:
    return persists(cka, "dino", margin)


@claim(
    "ft-attn-ln",
    title="Attention and norm become more similar",
    quantity="CKA",
    where="3.3, C.2, Fig. 10, A3",
    statement="Attention and layer normalization become remarkably more similar post fine-tuning.",
    reading="same-depth CKA of MAE and MoCo-v3, both fine-tuned minus both pre-trained, over all blocks: of qkv, and of the "
    "norm after attention",
    margin=0.1,
    asks="difference",
)
def test_attention_and_norm_become_more_similar(cka: Pairs, margin: float) -> list[Decision]:
    before, after = cka("mae", "moco_v3"), cka("mae_ft", "moco_v3_ft")
    return [exceeds(after.same_depth(types=[kind]) - before.same_depth(types=[kind]), margin) for kind in ATTENTION]


@claim(
    "ft-attn-top",
    title="The most unlike layers become most alike",
    quantity="CKA",
    main=True,
    where="3.3, Fig. 10, A3",
    statement="The layers that were most dissimilar before (attention and normalization) become the most similar.",
    reading="same-depth CKA of fine-tuned MAE and fine-tuned MoCo-v3 over all blocks: qkv minus fc1, and the norm after "
    "attention minus fc1",
    margin=0.0,
    asks="difference",
)
def test_attention_and_norm_end_above_fully_connected_layers(cka: Pairs, margin: float) -> list[Decision]:
    after = cka("mae_ft", "moco_v3_ft")
    connected = after.same_depth(types=["mlp.fc1"])
    return [exceeds(after.same_depth(types=[kind]) - connected, margin) for kind in ATTENTION]


@claim(
    "ft-fc-split",
    title="FC: early layers nearer, late ones not",
    quantity="CKA",
    where="3.3, C.2, Fig. A3",
    statement="Fully connected layers become more similar in the initial and intermediate layers, and less in the later ones.",
    reading="same-depth CKA of fc1 of MAE and MoCo-v3, both fine-tuned minus both pre-trained: over blocks 0-8, and the "
    "negative of it over blocks 9-11",
    margin=0.0,
    asks="difference",
)
def test_fully_connected_layers_part_late(cka: Pairs, margin: float) -> list[Decision]:
    before, after = cka("mae", "moco_v3"), cka("mae_ft", "moco_v3_ft")
    fc1 = ["mlp.fc1"]
    return [
        exceeds(after.same_depth(LO + MID, types=fc1) - before.same_depth(LO + MID, types=fc1), margin),
        exceeds(before.same_depth(HI, types=fc1) - after.same_depth(HI, types=fc1), margin),
    ]


@claim(
    "ft-attn-diag",
    title="Attention matches at equal depth after",
    quantity="share of layers",
    where="C.2, Fig. 10, A3",
    statement="Initial and intermediate attention and norm layers correspond linearly (at equal depth) after fine-tuning.",
    reading="of fine-tuned MAE and fine-tuned MoCo-v3, share of qkv and norms after attention of blocks 0-8 whose most similar "
    "layer of the same type in the other is at most one block away, seen from either; not so untrained",
    margin=0.8,
    asks="match",
    blocks=LO + MID,
)
def test_attention_matches_at_its_own_depth(cka: Pairs, untrained: Sequence[str], margin: float) -> Decision:
    def match(models: Sequence[str]) -> Decision:
        shares = [cka(a, b).row_matches(LO + MID, within=1, types=ATTENTION) for a, b in permutations(models, 2)]
        return all_of([exceeds(share, margin) for share in shares])

    return controlled(match(["mae_ft", "moco_v3_ft"]), match(untrained), "untrained networks")


@claim(
    "ft-attn-block",
    title="Attention matches in groups after",
    quantity="CKA",
    where="C.2, Fig. 10, A3",
    statement="Initial and intermediate attention and norm layers correspond in groups (early, middle) after fine-tuning.",
    reading="CKA of qkv and norms after attention of fine-tuned MAE and fine-tuned MoCo-v3: mean of blocks 0-3 with 0-3 and "
    "4-8 with 4-8, minus that of 0-3 with 4-8 and 4-8 with 0-3; not so untrained",
    margin=0.0,
    asks="match",
    blocks=LO + MID,
)
def test_attention_has_blocks(cka: Pairs, untrained: Sequence[str], margin: float) -> Decision:
    def grouped(a: str, b: str) -> Decision:
        pair = cka(a, b)
        within, between = (
            mean([pair.cells(rows, columns, types=ATTENTION) for rows, columns in regions])
            for regions in (((LO, LO), (MID, MID)), ((LO, MID), (MID, LO)))
        )
        return exceeds(within - between, margin)

    return controlled(grouped("mae_ft", "moco_v3_ft"), grouped(*untrained[:2]), "untrained networks")


@claim(
    "ft-mid",
    title="Middle attention of MAE becomes JE-like",
    quantity="CKA",
    where="3.3",
    statement="Attention in the middle blocks (3-10) of REC models becomes highly similar to that of JE models.",
    reading="same-depth CKA of qkv of fine-tuned MAE with each fine-tuned JE model, mean over blocks 3-10",
    margin=0.6,
    published="none",
    asks="level",
    blocks=range(3, 11),
)
def test_attention_in_the_middle_is_like_je(cka: Pairs, je: Sequence[str], rec: Sequence[str], margin: float) -> list[Decision]:
    pairs = [cka(f"{one}_ft", f"{other}_ft") for one in rec for other in je]
    return [exceeds(pair.same_depth(range(3, 11), types=["attn.qkv"]), margin) for pair in pairs]


@claim(
    "je-ft-stable",
    title="JE attention stays as it was",
    quantity="CKA",
    where="3.3",
    statement="How JE models attend is largely consistent before and after fine-tuning; how REC models do changes.",
    reading="same-depth CKA of qkv of a model and of itself fine-tuned, over all blocks: each JE model minus MAE",
    margin=0.1,
    published="none",
    asks="difference",
)
def test_attention_of_je_stays_what_it_was(cka: Pairs, je: Sequence[str], rec: Sequence[str], margin: float) -> list[Decision]:
    def kept(model: str) -> Estimate:
        return cka(model, f"{model}_ft").same_depth(types=["attn.qkv"])

    return [exceeds(kept(one) - kept(other), margin) for one in je for other in rec]


def nearer(measure: Measure, je: str) -> Estimate:
    """By how much fine-tuning brings MAE nearer to a pre-trained JE model."""
    return measure("mae_ft", je).same_depth(BLOCKS) - measure("mae", je).same_depth(BLOCKS)


def persists(measure: Measure, je: str, margin: float) -> list[Decision]:
    """Fine-tuned MAE is as like the pre-trained JE model as the fine-tuned one, but less like the latter's last blocks."""
    before, after = measure("mae_ft", je), measure("mae_ft", f"{je}_ft")
    early = equivalent(before.same_depth(LO + MID) - after.same_depth(LO + MID), PERSISTS)
    return [early, exceeds(before.same_depth(HI) - after.same_depth(HI), margin)]


test_fine_tuning_brings_rec_nearer_to_moco_beyond_the_pixels = again(test_fine_tuning_brings_rec_nearer_to_moco, "deconfounded")
test_fine_tuning_brings_rec_nearer_to_moco_by_mutual = again(test_fine_tuning_brings_rec_nearer_to_moco, "mutual", margin=0.0)
test_fine_tuning_brings_rec_nearer_to_moco_in_cls = again(test_fine_tuning_brings_rec_nearer_to_moco, "cls", margin=0.0)
test_fine_tuning_brings_rec_nearer_to_moco_in_gap = again(test_fine_tuning_brings_rec_nearer_to_moco, "gap", margin=0.0)
test_fine_tuned_rec_is_like_moco_beyond_the_pixels = again(test_fine_tuned_rec_is_like_moco, "deconfounded")
test_likeness_to_moco_persists_beyond_the_pixels = again(test_likeness_to_moco_persists_but_late, "deconfounded")
test_fine_tuning_brings_rec_nearer_to_dino_beyond_the_pixels = again(test_fine_tuning_brings_rec_nearer_to_dino, "deconfounded")
test_fine_tuning_brings_rec_nearer_to_dino_by_mutual = again(test_fine_tuning_brings_rec_nearer_to_dino, "mutual", margin=0.0)
test_fine_tuning_brings_rec_nearer_to_dino_in_cls = again(test_fine_tuning_brings_rec_nearer_to_dino, "cls", margin=0.0)
test_fine_tuning_brings_rec_nearer_to_dino_in_gap = again(test_fine_tuning_brings_rec_nearer_to_dino, "gap", margin=0.0)
test_fine_tuned_rec_is_like_dino_beyond_the_pixels = again(test_fine_tuned_rec_is_like_dino, "deconfounded")
test_likeness_to_dino_persists_beyond_the_pixels = again(test_likeness_to_dino_persists_but_late, "deconfounded")
test_attention_becomes_similar_beyond_the_pixels = again(test_attention_and_norm_become_more_similar, "deconfounded")
test_attention_ends_on_top_beyond_the_pixels = again(test_attention_and_norm_end_above_fully_connected_layers, "deconfounded")
test_fully_connected_layers_part_beyond_the_pixels = again(test_fully_connected_layers_part_late, "deconfounded")
test_attention_matches_beyond_the_pixels = again(test_attention_matches_at_its_own_depth, "deconfounded")
test_attention_has_blocks_beyond_the_pixels = again(test_attention_has_blocks, "deconfounded")
test_attention_in_the_middle_beyond_the_pixels = again(test_attention_in_the_middle_is_like_je, "deconfounded")
test_attention_of_je_stays_beyond_the_pixels = again(test_attention_of_je_stays_what_it_was, "deconfounded")
