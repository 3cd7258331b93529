"""Appendix D: how alike the probes of two models rank the classes, and how often they predict the same one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

from harness.evidence.claim import claim
from harness.evidence.decide import Decision, exceeds
from harness.readings.agreement import Agreements, Answers, Subset


@claim(
    "f1",
    title="MoCo-v3 and DINO predict alike",
    quantity="F1",
    where="D",
    statement="Top-1 predictions of DINO and MoCo-v3 agree more than those of MAE and MoCo-v3: similar objectives are right "
    "and wrong in similar ways.",
    reading="F1 of DINO with MoCo-v3 minus F1 of MAE with MoCo-v3; and the same with each F1, read as the share of equal "
    "predictions, over the largest share that accuracies so far apart allow: 1 minus their difference",
    margin=0.02,
    published="numbers",
    asks="difference",
)
def test_je_models_agree_most(answers: Answers, margin: float) -> list[Decision]:
    near, far = ("dino", "moco_v3"), ("mae", "moco_v3")
    return [exceeds(answers.gap(near, far, matched=matched), margin) for matched in (False, True)]


def _rank_alike(k: int, subset: Subset, statement: str) -> Callable[..., Any]:
    whose = {"all": "all images", "right": "images that the first gets right", "wrong": "images that the first gets wrong"}

    @claim(
        f"tau-{subset}-{k}",
        title=f"JE models rank {k} classes alike" + ("" if subset == "all" else f", {subset}"),
        quantity="tau-b",
        where="D, Fig. A4",
        statement=statement,
        reading=f"tau-b of the {k} most likely classes of linear probes over {whose[subset]}: each JE model with the other JE "
        "model minus with MAE; and the same beyond what accuracies and confusions by class give; direction alone",
        margin=0.0,
        asks="difference",
    )
    def test(agreements: Agreements, je: Sequence[str], rec: Sequence[str], margin: float) -> list[Decision]:
        triples = [(one, other, far) for one, other in permutations(je, 2) for far in rec]
        plain = [agreements(one, near).alike(k, subset) - agreements(one, far).alike(k, subset) for one, near, far in triples]
        beyond = [
            agreements(one, near).beyond_accuracy(k, subset) - agreements(one, far).beyond_accuracy(k, subset)
            for one, near, far in triples
        ]
        return [exceeds(gap, margin) for gap in (*plain, *beyond)]

    return test


ALL = "Ranking predictions of MoCo-v3 and DINO are consistently more correlated than those of either and MAE."
RIGHT = "Rankings of MoCo-v3 and DINO are more correlated where predictions are correct."
WRONG = "Rankings of MoCo-v3 and DINO are more correlated where predictions are wrong: JE models err in similar ways."

test_je_models_rank_five_classes_alike = _rank_alike(5, "all", ALL)
test_je_models_rank_ten_classes_alike = _rank_alike(10, "all", ALL)
test_je_models_rank_five_classes_alike_where_right = _rank_alike(5, "right", RIGHT)
test_je_models_rank_ten_classes_alike_where_right = _rank_alike(10, "right", RIGHT)
test_je_models_rank_five_classes_alike_where_wrong = _rank_alike(5, "wrong", WRONG)
test_je_models_rank_ten_classes_alike_where_wrong = _rank_alike(10, "wrong", WRONG)
