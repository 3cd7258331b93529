"""One model's number beside those of the runs of both families, in planted worlds."""

from __future__ import annotations

import numpy as np
import pytest

from harness.evidence.decide import State
from harness.evidence.estimate import Estimate
from harness.readings.finding import Finding

N = 400
LEVELS = {"moco_v3": 10.0, "moco_v3_1": 11.0, "dino": 9.0, "mae": 1.0, "mae_1": 2.0, "like_je": 10.0, "like_rec": 1.5}
LEVELS |= {"midway": 5.5, "far_above": 20.0, "far_below": -9.0, "near": 8.9}


def of(model: str) -> Estimate:
    """The planted level with noise of its own, and a standard error of 0.25."""
    draws = np.random.default_rng(sum(map(ord, model))).normal(scale=5.0, size=N)
    values = LEVELS[model] + draws - draws.mean()
    return Estimate.resample(lambda w: w @ values / N, N, seed=0, unit="images", key="planted", draws=1000)


def finding(je: tuple[str, ...] = ("moco_v3", "moco_v3_1", "dino"), rec: tuple[str, ...] = ("mae", "mae_1")) -> Finding:
    return Finding(of, je, rec, higher=State.JE_LIKE)


@pytest.mark.parametrize(
    ("model", "state"),
    [
        ("like_je", State.JE_LIKE),
        ("like_rec", State.REC_LIKE),
        ("midway", State.INCONCLUSIVE),
        # Beyond all runs by more than half of what parts the families: 14.5 and -2.5.
        ("far_above", State.NEITHER),
        ("far_below", State.NEITHER),
    ],
)
def test_a_model_does_as_one_family_does_or_as_neither(model: str, state: State) -> None:
    found = finding().of(model)
    assert found.state is state
    assert found.estimate == pytest.approx(LEVELS[model])
    # Midway between the nearest runs, 9 and 2.
    assert found.margin == pytest.approx(5.5)
    assert found.unit == "images"
    assert found.interval is not None
    assert found.interval[0] < LEVELS[model] < found.interval[1]


def test_where_the_reconstructions_are_the_higher_ones_the_sides_are_the_other_way_round() -> None:
    turned = Finding(of, ("mae", "mae_1"), ("moco_v3", "dino"), higher=State.REC_LIKE)
    assert turned.of("like_je").state is State.REC_LIKE
    assert turned.of("like_rec").state is State.JE_LIKE


def test_a_run_is_not_held_against_itself() -> None:
    """Without itself, DINO's 9, the nearest JE run is MoCo-v3's 10."""
    assert finding().of("dino").margin == pytest.approx(6.0)
    assert finding(je=("dino",)).of("dino").margin == pytest.approx(5.5)


def test_families_that_do_not_part_as_the_paper_says_judge_nobody() -> None:
    against = Finding(of, ("moco_v3", "dino"), ("mae",), higher=State.REC_LIKE).of("like_je")
    assert against.state is State.UNCALIBRATED
    assert against.estimate is None
    assert "REC models are above JE models" in against.reason
    assert "mae has +1.00" in against.reason
    assert "dino" not in against.reason
    assert "moco_v3 +10.00" in against.reason
    # Runs that part by less than noise do not part.
    assert Finding(of, ("dino",), ("near",), higher=State.JE_LIKE).of("like_je").state is State.UNCALIBRATED
