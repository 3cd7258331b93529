"""Appendix D: how often two models predict the same class."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.evidence.claim import claim
from harness.evidence.decide import Decision, exceeds
from harness.evidence.published import Published


@pytest.fixture
def agreement(published: Callable[[str, str], Published]) -> Published:
    return published("probe", "top-1 predictions of each model's linear probe")


@claim(
    "f1",
    where="D",
    statement="Top-1 predictions of DINO and MoCo-v3 agree more than those of MAE and MoCo-v3: similar objectives are right "
    "and wrong in similar ways.",
    reading="F1 of DINO with MoCo-v3 minus F1 of MAE with MoCo-v3; and the same with each F1, read as the share of equal "
    "predictions, over the largest share that accuracies so far apart allow: 1 minus their difference",
    margin=0.02,
    published="numbers",
)
def test_je_models_agree_most(agreement: Published, margin: float) -> list[Decision]:
    def ceiling(a: str, b: str) -> float:
        # Its own rounding is a hundredth of a point, that of F1 half a point.
        a_top1, b_top1 = (agreement.number(f"table1.final.{model}").value / 100 for model in (a, b))
        return 1 - abs(a_top1 - b_top1)

    near, far = "appendix_d.f1.dino_moco_v3", "appendix_d.f1.mae_moco_v3"
    matched = agreement.combination({near: 1 / ceiling("dino", "moco_v3"), far: -1 / ceiling("mae", "moco_v3")})
    return [exceeds(agreement.difference(near, far), margin), exceeds(matched, margin)]
