"""Whose representations a model's are like, by each measure of similarity. Decided with --model NAME, and for nothing else.

The rule is that of harness/readings/kinship.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.evidence.claim import claim
from harness.evidence.decide import Decision
from harness.evidence.measure import Measure
from harness.readings.kinship import Kinship
from harness.readings.pair import Pairs

# Each measure in a few words.
_SHORT = {
    "cka": "minibatch CKA",
    "deconfounded": "CKA net of the pixels",
    "mutual": "common nearest neighbours",
    "cls": "CKA of CLS tokens",
    "gap": "CKA of mean patch tokens",
    "final": "CKA of pre-logits",
    "final-mutual": "common neighbours in pre-logits",
}
Family = Callable[[Measure], Kinship]


def _kinship(id: str, words: str, over: str = "over all blocks") -> Callable[..., Any]:
    """The claim of one measure."""
    return claim(
        id,
        where="Kinship",
        statement=f"Whose representations the model's are like, by {words}.",
        reading=f"nearness to the nearest JE method less that to the nearest REC method, {over}, held against where runs of "
        "the two families part, and against untrained networks",
        about="model",
        published="none",
        title=f"By {_SHORT[id]}",
        quantity="share" if "mutual" in id else "CKA",
    )


@_kinship("cka", "minibatch CKA of layers at one depth")
def test_kinship_by_cka(model: str, cka: Pairs, kinship: Family) -> Decision:
    return kinship(cka).of(model)


@_kinship("deconfounded", "CKA net of what the pixels explain")
def test_kinship_net_of_the_pixels(model: str, deconfounded: Pairs, kinship: Family) -> Decision:
    return kinship(deconfounded).of(model)


@_kinship("mutual", "the nearest neighbours that images have in common")
def test_kinship_by_neighbours(model: str, mutual: Measure, kinship: Family) -> Decision:
    return kinship(mutual).of(model)


@_kinship("cls", "debiased CKA of CLS tokens")
def test_kinship_by_cls_tokens(model: str, cls: Measure, kinship: Family) -> Decision:
    return kinship(cls).of(model)


@_kinship("gap", "debiased CKA of mean patch tokens")
def test_kinship_by_mean_patch_tokens(model: str, gap: Measure, kinship: Family) -> Decision:
    return kinship(gap).of(model)


@_kinship("final", "debiased CKA of the pre-logits", "after the final norm")
def test_kinship_by_what_is_handed_on(model: str, final: Measure, kinship: Family) -> Decision:
    return kinship(final).of(model)


@_kinship("final-mutual", "the nearest neighbours that images have in common in the pre-logits", "after the final norm")
def test_kinship_by_neighbours_in_what_is_handed_on(model: str, final_mutual: Measure, kinship: Family) -> Decision:
    return kinship(final_mutual).of(model)
