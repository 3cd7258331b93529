"""Kinship in a planted world: further runs, copies, chimeras and untrained networks are told for what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from harness.evidence.decide import Decision, State
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import BLOCKS
from harness.readings.kinship import THIRDS, Kinship, verdict

JE = {"moco_v3": ["moco_v3", "moco_v3_1", "moco_v3_2"], "dino": ["dino", "dino_1", "dino_2"]}
REC = {"mae": ["mae", "mae_1", "mae_2"]}
UNTRAINED = ["random", "random_learned"]
UNITS, NOISE = 32, 0.01
# Whose method each further model has, by block; "copy" is a run under another name.
FURTHER = {
    "fourth_moco": ["moco_v3"] * 12,
    "fourth_dino": ["dino"] * 12,
    "fourth_mae": ["mae"] * 12,
    "msn": ["msn"] * 12,
    "raw": [None] * 12,
    "chimera": ["mae"] * 6 + ["moco_v3"] * 6,
    "copy": ["moco_v3"] * 12,
}
SIMILAR = {frozenset(("moco_v3", "dino")): 0.6, frozenset(("msn", "moco_v3")): 0.55, frozenset(("msn", "dino")): 0.6}


def methods(model: str) -> Sequence[str | None]:
    for method, runs in (JE | REC).items():
        if model in runs:
            return [method] * 12
    return FURTHER.get(model, [None] * 12)


@dataclass
class Planted:
    """Similarity of two models: 0.9 within a method, 0.6 between JE methods, 0.4 across families, 0.2 without training."""

    a: str
    b: str
    flat: bool = False

    def level(self, block: int) -> float:
        one, other = (methods(model)[block] for model in (self.a, self.b))
        if self.a == self.b or {self.a, self.b} == {"copy", "moco_v3_1"}:
            return 1.0
        if self.flat or one is None or other is None:
            return 0.2
        return 0.9 if one == other else SIMILAR.get(frozenset((one, other)), 0.4)

    def same_depth(self, blocks: Sequence[int]) -> Estimate:
        seed = sum(map(ord, min(self.a, self.b))), sum(map(ord, max(self.a, self.b)))
        units = np.mean([self.level(i) for i in blocks]) + np.random.default_rng(seed).normal(scale=NOISE, size=UNITS)
        return Estimate.resample(lambda w: w @ units / UNITS, UNITS, seed=0, unit="minibatches", key="planted", draws=500)


def kinship(measure: Callable[[str, str], Planted] = Planted, untrained: Sequence[str] = UNTRAINED) -> Kinship:
    return Kinship(measure, JE, REC, untrained)


def judged(model: str) -> tuple[Decision, list[Decision], State]:
    whole, thirds = kinship().of(model), {third: kinship().of(model, blocks) for third, blocks in THIRDS.items()}
    return whole, list(thirds.values()), verdict({"one": whole}, thirds).state


@pytest.mark.parametrize(
    ("model", "kin"),
    [
        ("fourth_moco", State.JE_LIKE),
        ("fourth_dino", State.JE_LIKE),
        ("fourth_mae", State.REC_LIKE),
        # A method of its own that is nearer to the JE methods than to MAE.
        ("msn", State.JE_LIKE),
        ("copy", State.JE_LIKE),
        ("raw", State.NEITHER),
        ("random", State.NEITHER),
        ("mae_2", State.REC_LIKE),
    ],
)
def test_a_model_is_told_for_what_it_is(model: str, kin: State) -> None:
    whole, thirds, answer = judged(model)
    assert answer is kin
    assert {finding.state for finding in (whole, *thirds)} == {kin}
    assert whole.estimate is not None
    assert f"{whole.estimate:+.3f}" in whole.reason


def test_a_chimera_is_of_no_family() -> None:
    _, thirds, answer = judged("chimera")
    assert [finding.state for finding in thirds][::2] == [State.REC_LIKE, State.JE_LIKE]
    assert answer is State.INCONCLUSIVE


def test_lead_and_cut_by_hand() -> None:
    """A MoCo run: 0.9 less 0.4; a MAE run: 0.4 less 0.9; the cut lies between the two families' nearest runs."""
    found = kinship().of("fourth_moco")
    assert found.estimate == pytest.approx(0.5, abs=0.01)
    assert found.margin == pytest.approx(0.0, abs=0.01)
    assert kinship().nearness("msn", JE, BLOCKS).value == pytest.approx(0.6, abs=0.01)


def test_the_runs_own_values_need_no_draws() -> None:
    """What families and untrained networks give is asked of the values, what the model gives of the measure with its draws."""

    def no_run_with_another(a: str, b: str) -> Planted:
        assert a not in [*JE["moco_v3"], *JE["dino"], *REC["mae"]]
        return Planted(a, b)

    quick = Kinship(no_run_with_another, JE, REC, UNTRAINED, Planted)
    assert quick.of("fourth_mae").reason == kinship().of("fourth_mae").reason


def test_a_measure_that_cannot_tell_is_not_read() -> None:
    blind = kinship(lambda a, b: Planted(a, b, flat=True)).of("fourth_moco")
    assert blind.state is State.UNCALIBRATED
    assert "not told apart" in blind.reason or "nearer to its own family" in blind.reason
    assert "1 untrained" in kinship(untrained=["random"]).of("fourth_moco").reason


def test_a_method_of_one_run_is_held_against_itself() -> None:
    alone = Kinship(Planted, {"moco_v3": ["moco_v3"], "dino": ["dino"]}, {"mae": ["mae"]}, UNTRAINED)
    assert [alone.of(model).state for model in ("fourth_moco", "fourth_mae", "raw")] == [
        State.JE_LIKE,
        State.REC_LIKE,
        State.NEITHER,
    ]


def finding(state: State) -> Decision:
    return Decision(state, None, None, None, None, None, "")


@pytest.mark.parametrize(
    ("whole", "thirds", "answer"),
    [
        ([State.JE_LIKE, State.JE_LIKE, State.INCONCLUSIVE], [], State.JE_LIKE),
        ([State.JE_LIKE, State.NEITHER], [], State.INCONCLUSIVE),
        ([State.JE_LIKE, State.JE_LIKE, State.REC_LIKE], [], State.INCONCLUSIVE),
        ([State.REC_LIKE, State.REC_LIKE], [State.REC_LIKE, State.JE_LIKE], State.INCONCLUSIVE),
        ([State.REC_LIKE, State.UNCALIBRATED, State.UNCALIBRATED], [State.UNCALIBRATED, State.NEITHER], State.REC_LIKE),
        ([State.UNCALIBRATED], [State.JE_LIKE], State.UNCALIBRATED),
        ([State.NEITHER, State.NEITHER, State.JE_LIKE], [], State.NEITHER),
    ],
)
def test_one_verdict_of_several_measures(whole: list[State], thirds: list[State], answer: State) -> None:
    found = [{f"{part} {i}": finding(kin) for i, kin in enumerate(kins)} for part, kins in (("all", whole), ("third", thirds))]
    decided = verdict(*found)
    assert decided.state is answer
    if State.JE_LIKE in thirds and answer is State.INCONCLUSIVE:
        assert "JE-LIKE by third 1" in decided.reason


@pytest.mark.parametrize(
    ("whole", "findings", "answer"),
    [
        ([State.JE_LIKE, State.NEITHER], [State.JE_LIKE], State.JE_LIKE),
        # A finding may be outvoted, where a measure may not be contradicted.
        ([State.JE_LIKE, State.JE_LIKE], [State.REC_LIKE], State.JE_LIKE),
        ([State.JE_LIKE, State.JE_LIKE], [State.REC_LIKE, State.REC_LIKE, State.INCONCLUSIVE], State.INCONCLUSIVE),
        ([State.JE_LIKE], [State.UNCALIBRATED, State.NO_EVIDENCE, State.MISSING], State.JE_LIKE),
        ([State.UNCALIBRATED], [State.JE_LIKE], State.UNCALIBRATED),
    ],
)
def test_findings_count_beside_the_measures(whole: list[State], findings: list[State], answer: State) -> None:
    measures = {f"measure {i}": finding(kin) for i, kin in enumerate(whole)}
    decided = verdict(measures, {}, {f"finding {i}": finding(kin) for i, kin in enumerate(findings)})
    assert decided.state is answer
    assert ("not measured: finding 2" in decided.reason) == (State.MISSING in findings)


def test_methods_are_listed_with_the_nearest_first() -> None:
    found = kinship().by_method("fourth_moco")
    assert [method for method, _ in found] == ["moco_v3", "dino", "mae"]
    assert [value for _, value in found] == pytest.approx([0.9, 0.6, 0.4], abs=0.02)
    # A run is not compared with itself.
    assert dict(kinship().by_method("mae"))["mae"] == pytest.approx(0.9, abs=0.02)
