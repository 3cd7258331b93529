"""Appendix E, Fig. A5 and A6: MSN masks patches as MAE does and embeds views as JE models do. It is like the latter.

The paper holds it against two JE models; each is a claim of its own, so that three runs of one method can play all its roles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.evidence.again import again
from harness.evidence.claim import claim
from harness.evidence.decide import Decision, exceeds
from harness.evidence.measure import Measure
from harness.evidence.resampling import BLOCKS
from harness.readings.agreement import Agreements, Answers
from harness.readings.pair import Pairs

NAMES = {"moco_v3": "MoCo-v3", "dino": "DINO"}
# How much of the likeness of pre-trained MSN and a JE model has to be there after fine-tuning.
KEPT = 0.8


def _nearer(je: str) -> Callable[..., Any]:
    @claim(
        "msn-pt" if je == "moco_v3" else f"msn-pt-{je}",
        title=f"Pre-trained MSN is like {NAMES[je]}, not MAE",
        quantity="CKA",
        where="E, Fig. A5",
        statement=f"Pre-trained MSN representations are much more similar to {NAMES[je]} than to MAE.",
        reading=f"same-depth similarity of MSN over all blocks and layer types: to {NAMES[je]} minus to MAE",
        margin=0.1,
        asks="difference",
    )
    def test(cka: Measure, margin: float) -> Decision:
        return exceeds(cka("msn", je).same_depth(BLOCKS) - cka("msn", "mae").same_depth(BLOCKS), margin)

    return test


def _same_answers(je: str) -> Callable[..., Any]:
    @claim(
        "msn-f1" if je == "moco_v3" else f"msn-f1-{je}",
        title=f"MSN predicts as {NAMES[je]} does",
        quantity="F1",
        where="3.1, E",
        statement=f"MSN is functionally more similar to {NAMES[je]} than to MAE: its probe predicts the same classes.",
        reading=f"F1 of top-1 predictions of linear probes, MSN with {NAMES[je]} minus MSN with MAE; and the same with each F1 "
        "over the largest that accuracies so far apart allow",
        margin=0.02,
        published="none",
        asks="difference",
    )
    def test(answers: Answers, margin: float) -> list[Decision]:
        return [exceeds(answers.gap(("msn", je), ("msn", "mae"), matched=matched), margin) for matched in (False, True)]

    return test


def _same_ranks(je: str) -> Callable[..., Any]:
    @claim(
        "msn-tau" if je == "moco_v3" else f"msn-tau-{je}",
        title=f"MSN ranks classes as {NAMES[je]} does",
        quantity="tau-b",
        where="3.1, E",
        statement=f"MSN is functionally more similar to {NAMES[je]} than to MAE: its probe ranks classes alike.",
        reading=f"tau-b of the 5 likeliest classes of linear probes over all images, MSN with {NAMES[je]} minus MSN with MAE; "
        "and the same beyond what accuracies and confusions by class give; direction alone",
        margin=0.0,
        published="none",
        asks="difference",
    )
    def test(agreements: Agreements, margin: float) -> list[Decision]:
        near, far = agreements("msn", je), agreements("msn", "mae")
        plain = near.alike(5, "all") - far.alike(5, "all")
        beyond = near.beyond_accuracy(5, "all") - far.beyond_accuracy(5, "all")
        return [exceeds(plain, margin), exceeds(beyond, margin)]

    return test


def _stays(je: str) -> Callable[..., Any]:
    @claim(
        "msn-ft" if je == "moco_v3" else f"msn-ft-{je}",
        title=f"Fine-tuned MSN stays like {NAMES[je]}",
        quantity="CKA",
        where="E, Fig. A6",
        statement=f"Fine-tuned MSN remains similar to pre-trained and fine-tuned {NAMES[je]}, and to fine-tuned MAE.",
        reading=f"same-depth CKA, over all blocks and layer types, of fine-tuned MSN with {NAMES[je]}, pre-trained and "
        f"fine-tuned, and with fine-tuned MAE, each minus 0.8 times that of pre-trained MSN and {NAMES[je]}",
        margin=0.0,
    )
    def test(cka: Pairs, margin: float) -> list[Decision]:
        before = cka("msn", je).same_depth()
        return [exceeds(cka("msn_ft", other).same_depth() - KEPT * before, margin) for other in (je, f"{je}_ft", "mae_ft")]

    return test


test_msn_is_nearer_to_moco = _nearer("moco_v3")
test_msn_is_nearer_to_dino = _nearer("dino")
test_msn_answers_as_moco = _same_answers("moco_v3")
test_msn_answers_as_dino = _same_answers("dino")
test_msn_ranks_as_moco = _same_ranks("moco_v3")
test_msn_ranks_as_dino = _same_ranks("dino")
test_fine_tuned_msn_stays_near_moco = _stays("moco_v3")
test_fine_tuned_msn_stays_near_dino = _stays("dino")

test_msn_is_nearer_to_moco_beyond_the_pixels = again(test_msn_is_nearer_to_moco, "deconfounded")
test_msn_is_nearer_to_moco_by_mutual_neighbours = again(test_msn_is_nearer_to_moco, "mutual", margin=0.0)
test_msn_is_nearer_to_moco_in_cls = again(test_msn_is_nearer_to_moco, "cls", margin=0.0)
test_msn_is_nearer_to_moco_in_gap = again(test_msn_is_nearer_to_moco, "gap", margin=0.0)
test_msn_is_nearer_to_dino_beyond_the_pixels = again(test_msn_is_nearer_to_dino, "deconfounded")
test_msn_is_nearer_to_dino_by_mutual_neighbours = again(test_msn_is_nearer_to_dino, "mutual", margin=0.0)
test_msn_is_nearer_to_dino_in_cls = again(test_msn_is_nearer_to_dino, "cls", margin=0.0)
test_msn_is_nearer_to_dino_in_gap = again(test_msn_is_nearer_to_dino, "gap", margin=0.0)
test_fine_tuned_msn_stays_near_moco_beyond_the_pixels = again(test_fine_tuned_msn_stays_near_moco, "deconfounded")
test_fine_tuned_msn_stays_near_dino_beyond_the_pixels = again(test_fine_tuned_msn_stays_near_dino, "deconfounded")
