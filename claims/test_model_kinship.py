"""What a model is like: by each measure of similarity, and by all of them. Decided with --model NAME, and for nothing else.

The rule is that of harness/evidence/kinship.py. By thirds of the depth the answers stand in the family's reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.evidence.claim import claim
from harness.evidence.decide import Decision
from harness.evidence.kinship import THIRDS, Kinship, verdict
from harness.evidence.pair import Measure, Pairs

Family = Callable[[Measure], Kinship]


def _kin(measure: str, words: str) -> Callable[..., Any]:
    """The claim of one measure, which is a fixture of that name."""
    return claim(
        measure,
        where="Kinship",
        statement=f"Whose representations the model's are like, by {words}.",
        reading="nearness to the nearest JE method less that to the nearest REC method, over all blocks, held against where "
        "runs of the two families part, and against untrained networks",
        about="model",
        published="none",
    )


@_kin("cka", "minibatch CKA of layers at one depth")
def test_kinship_by_cka(model: str, cka: Pairs, kinship: Family) -> Decision:
    return kinship(cka).of(model)


@_kin("deconfounded", "CKA net of what the pixels explain")
def test_kinship_net_of_the_pixels(model: str, deconfounded: Pairs, kinship: Family) -> Decision:
    return kinship(deconfounded).of(model)


@_kin("mutual", "the nearest neighbours that images have in common")
def test_kinship_by_neighbours(model: str, mutual: Measure, kinship: Family) -> Decision:
    return kinship(mutual).of(model)


@_kin("cls", "debiased CKA of CLS tokens")
def test_kinship_by_cls_tokens(model: str, cls: Measure, kinship: Family) -> Decision:
    return kinship(cls).of(model)


@_kin("gap", "debiased CKA of mean patch tokens")
def test_kinship_by_mean_patch_tokens(model: str, gap: Measure, kinship: Family) -> Decision:
    return kinship(gap).of(model)


@claim(
    "family",
    where="Kinship",
    statement="Which family's representations the model's are like, by all measures together.",
    reading="what more than half of the measures say over all blocks, if none says the opposite of any third of the depth",
    about="model",
    published="none",
)
def test_the_family(model: str, measures: dict[str, Measure], kinship: Family) -> Decision:
    kin = {name: kinship(measure) for name, measure in measures.items()}
    thirds = {f"{name}, {third}": one.of(model, blocks) for name, one in kin.items() for third, blocks in THIRDS.items()}
    return verdict({name: one.of(model) for name, one in kin.items()}, thirds)
