"""Verdicts on replicates: assignments, agreement, the null by roles, anchors and gates, each by construction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from harness.artifacts.errors import MissingArtifact
from harness.evidence.claim import Claim, Inputs
from harness.evidence.decide import Decision, State, all_of, exceeds
from harness.evidence.estimate import Estimate
from harness.evidence.instrument import Instrument
from harness.evidence.panel import Panel, Run, agreed
from harness.readings.accuracy import Accuracy

RUNS = {"moco": ["moco", "moco_1", "moco_2"], "dino": ["dino", "dino_1", "dino_2"], "mae": ["mae", "mae_1", "mae_2"]}
ALONE = {name: runs[:1] for name, runs in RUNS.items()}
METHOD = {run: method for method, runs in RUNS.items() for run in runs}
N = 32


def measured(value: float, n: int = N, spread: float = 0.02) -> Estimate:
    noise = np.linspace(-1, 1, n) * spread
    return Estimate.resample(lambda w: value + w @ noise / n, n, seed=0, unit="minibatches", key="k")


def accuracy(percent: float) -> Accuracy:
    right = np.zeros((2, 13, 4000), bool)
    right[:, :, : int(40 * percent)] = True
    return Accuracy(right, right[0, 0], right[0, 0], "images")


class Alike:
    """Same-depth similarity of two models: of one method, of two, of a trained and an untrained one."""

    def __init__(self, own: float = 0.9, other: float = 0.6, untrained: float = 0.2) -> None:
        self.own, self.other, self.untrained = own, other, untrained

    def __call__(self, a: str, b: str) -> Alike:
        value = self.untrained
        if a in METHOD and b in METHOD:
            value = self.own if METHOD[a] == METHOD[b] else self.other
        return Told(value)


class Told:
    def __init__(self, value: float) -> None:
        self.value = value

    def same_depth(self, blocks: object) -> Estimate:
        return measured(self.value)


def panel_of(
    similarity: Alike | None = None,
    *,
    runs: Mapping[str, list[str]] = RUNS,
    untrained: tuple[str, ...] = ("random",),
    accuracies: Mapping[str, float] | None = None,
    pixels: float = 50.0,
) -> Panel:
    percent = {"random": 20.0, "supervised": 95.0} | dict.fromkeys(METHOD, 75.0) | dict(accuracies or {})
    knn = {name: accuracy(value) for name, value in percent.items()}
    measures = {"cka": similarity or Alike()}
    instrument = Instrument(measures, knn.__getitem__, runs, untrained, ("supervised",), runs["mae"], lambda: pixels)
    return Panel(instrument)


def stated(asks: str = "difference", margin: float | None = 0.1, **more: object) -> Claim:
    return Claim("some-claim", "here", "A statement.", "a reading", margin, "methods", "plot", asks, **more)


def playing(rule: Callable[[Mapping[str, str], float], Decision], inputs: Inputs) -> Run:
    """A rule about moco, dino and mae, given who plays them and the margin, as a panel calls it."""

    def run(assignment: Mapping[str, str], margin: float | None, *, values_only: bool = False) -> Decision:
        inputs.assignment, inputs.values_only = assignment, values_only
        return rule({role: inputs.model_of(role) for role in ("moco", "dino", "mae")}, margin or 0.0)

    return run


def decide(
    panel: Panel, rule: Callable[[Mapping[str, str], float], Decision], claim: Claim | None = None
) -> tuple[Decision, Inputs]:
    """Decide a rule about moco, dino and mae."""
    inputs = Inputs("world")
    return panel.decide(claim or stated(), playing(rule, inputs), inputs, ["cka", "margin"]), inputs


def gap(values: Mapping[str, float], null: float = 0.0) -> Callable[[Mapping[str, str], float], Decision]:
    """A rule whose value depends on who plays MAE, and is `null` where one method plays all roles."""

    def rule(assignment: Mapping[str, str], margin: float) -> Decision:
        one = len({METHOD.get(name, name) for name in assignment.values()}) == 1
        return exceeds(measured(null if one else values.get(assignment["mae"], 0.3)), margin)

    return rule


def test_every_replicate_decides_and_the_median_one_is_shown() -> None:
    decision, inputs = decide(panel_of(), gap({"mae": 0.5, "mae_1": 0.3, "mae_2": 0.4}))
    assert decision.state is State.SUPPORTED
    assert decision.estimate == pytest.approx(0.4)
    assert inputs.runs == 3
    assert [decision.reason.count(f"run {i} SUPPORTED") for i in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"mae": 0.05, "mae_1": 0.01, "mae_2": 0.0}, State.REFUTED),
        ({"mae": 0.3, "mae_1": 0.01, "mae_2": 0.3}, State.INCONCLUSIVE),
        ({"mae": 0.3, "mae_1": 0.1, "mae_2": 0.3}, State.INCONCLUSIVE),
    ],
)
def test_replicates_that_disagree_decide_nothing(values: dict[str, float], state: State) -> None:
    decision, _ = decide(panel_of(), gap(values, null=-1.0))
    assert decision.state is state
    assert "run 1" in decision.reason


def test_the_number_of_replicates_is_that_of_the_method_with_the_fewest() -> None:
    runs = RUNS | {"mae": ["mae", "mae_1"]}
    _, inputs = decide(panel_of(runs=runs), gap({}))
    assert inputs.runs == 2


def test_what_replicates_of_one_method_show_in_all_roles_is_the_margin() -> None:
    decision, _ = decide(panel_of(), gap({}, null=0.25))
    assert decision.state is State.SUPPORTED
    assert decision.margin == pytest.approx(0.25)
    assert "margin for SUPPORTED raised from 0.1 to 0.25, which runs of" in decision.reason
    # Below the margin it changes nothing.
    assert decide(panel_of(), gap({}, null=0.09))[0].margin == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("value", "state", "margin"),
    [
        # The raised margin is 0.35, the claim's own 0.1.
        (0.5, State.SUPPORTED, 0.35),
        (0.3, State.INCONCLUSIVE, 0.35),
        (0.35, State.INCONCLUSIVE, 0.35),
        (0.1, State.INCONCLUSIVE, 0.35),
        (0.0, State.REFUTED, 0.1),
    ],
)
def test_the_raised_margin_is_a_bar_for_support_alone(value: float, state: State, margin: float) -> None:
    values = dict.fromkeys(RUNS["mae"], value)
    decision, _ = decide(panel_of(), gap(values, null=0.35))
    assert (decision.state, decision.margin) == (state, pytest.approx(margin))
    # What the claim's own margin would support says what it is not more than.
    assert ("no more than runs of one method give, 0.35 for runs of" in decision.reason) is (value in (0.3, 0.35))


def test_one_run_below_the_raised_margin_is_enough_to_withhold_support() -> None:
    decision, _ = decide(panel_of(), gap({"mae": 0.5, "mae_1": 0.5, "mae_2": 0.3}, null=0.35))
    assert decision.state is State.INCONCLUSIVE
    assert "run 1 SUPPORTED" in decision.reason
    assert "run 3 INCONCLUSIVE: no more than runs of one method give" in decision.reason


def test_runs_between_the_margins_and_below_both_refute_nothing() -> None:
    decision, _ = decide(panel_of(), gap({"mae": 0.0, "mae_1": 0.3, "mae_2": 0.0}, null=0.35))
    assert decision.state is State.INCONCLUSIVE
    assert [f"run {i} {state}" in decision.reason for i, state in ((1, "REFUTED"), (2, "INCONCLUSIVE"), (3, "REFUTED"))]


def test_a_part_that_is_refuted_by_itself_refutes_whatever_raised_the_margin() -> None:
    """A rule of two parts, of which one has a margin of its own that runs of one method do not raise."""

    def rule(assignment: Mapping[str, str], margin: float) -> Decision:
        one = len({METHOD.get(name, name) for name in assignment.values()}) == 1
        return all_of([exceeds(measured(0.35 if one else 0.3), margin), exceeds(measured(0.35 if one else -0.2), 0.0)])

    decision, _ = decide(panel_of(), rule)
    assert (decision.state, decision.margin, decision.estimate) == (State.REFUTED, 0.0, pytest.approx(-0.2))


def test_the_null_is_the_largest_over_methods_and_orders() -> None:
    def rule(assignment: Mapping[str, str], margin: float) -> Decision:
        value = 0.28 if tuple(assignment.values()) == ("dino_2", "dino", "dino_1") else 0.3
        one = len({METHOD.get(name, name) for name in assignment.values()}) == 1
        return exceeds(measured(value if not one or value == 0.28 else 0.0), margin)

    decision, _ = decide(panel_of(), rule)
    assert decision.margin == pytest.approx(0.28)
    assert "runs of dino" in decision.reason


def test_who_plays_a_model_plays_it_fine_tuned_too() -> None:
    inputs = Inputs("world", assignment={"moco": "moco_1"})
    assert [inputs.model_of(role) for role in ("moco", "moco_ft", "mae_ft")] == ["moco_1", "moco_1_ft", "mae_ft"]
    assert inputs.roles == {"moco", "moco_ft", "mae", "mae_ft"}


def test_fine_tuned_models_follow_their_runs_and_an_untrained_network_stays_what_it_is() -> None:
    """A level of moco and fine-tuned mae: its triples, runs of one method, and each beside an untrained network."""
    seen: list[tuple[str, str]] = []

    def rule(inputs: Inputs) -> Decision:
        pair = (inputs.model_of("moco"), inputs.model_of("mae_ft"))
        seen.append(pair)
        methods = [METHOD.get(name.removesuffix("_ft")) for name in pair]
        return exceeds(measured(0.2 if None in methods else 0.9 if methods[0] == methods[1] else 0.7), 0.6)

    inputs = Inputs("world")

    def run(assignment: Mapping[str, str], margin: float | None, *, values_only: bool = False) -> Decision:
        inputs.assignment, inputs.values_only = assignment, values_only
        return rule(inputs)

    decision = panel_of().decide(stated("level", 0.6), run, inputs, ["cka", "margin"])
    assert decision.state is State.SUPPORTED
    triples = [("moco", "mae_ft"), ("moco_1", "mae_1_ft"), ("moco_2", "mae_2_ft")]
    apart = [("moco", "random"), ("random", "mae_ft")]
    alike = [(a, f"{b}_ft") for runs in RUNS.values() for a in runs for b in runs if a != b]
    assert sorted(set(seen)) == sorted({*triples, *apart, *alike})


def test_each_run_is_decided_by_itself() -> None:
    def each(panel: Panel, rule: Callable[[Mapping[str, str], float], Decision], claim: Claim) -> list[Decision]:
        inputs = Inputs("world")
        return panel.on_each_run(claim, playing(rule, inputs), inputs, ["cka", "margin"])

    rule = gap({"mae": 0.5, "mae_1": -0.3, "mae_2": 0.4})
    assert [one.state for one in each(panel_of(), rule, stated())] == [State.SUPPORTED, State.REFUTED, State.SUPPORTED]
    assert decide(panel_of(), rule)[0].state is State.INCONCLUSIVE
    # Each is read against the margin that runs of one method raise.
    raised = each(panel_of(), gap({}, null=0.2), stated())
    assert [one.margin for one in raised] == [pytest.approx(0.2)] * 3
    (weak,) = each(panel_of(accuracies={"mae_2": 35.5}), rule, stated())
    assert weak.state is State.UNCALIBRATED
    (whole,) = each(panel_of(), rule, replace(stated(), about="artifacts"))
    assert whole.state is State.SUPPORTED


@pytest.mark.parametrize("asks", ["level", "match", "trait"])
def test_only_a_difference_has_a_null_by_roles(asks: str) -> None:
    def rule(assignment: Mapping[str, str], margin: float) -> Decision:
        untrained = "random" in assignment.values()
        return exceeds(measured(0.0 if untrained else 0.5), margin)

    decision, _ = decide(panel_of(), rule, stated(asks))
    assert (decision.state, decision.margin) == (State.SUPPORTED, 0.1)


def test_direction_alone_needs_replicates() -> None:
    decision, inputs = decide(panel_of(runs=ALONE), gap({}), stated(margin=0.0))
    assert decision.state is State.UNCALIBRATED
    assert "no replicates" in decision.reason
    assert inputs.runs == 1
    assert decide(panel_of(), gap({}), stated(margin=0.0))[0].state is State.SUPPORTED
    assert decide(panel_of(runs=ALONE), gap({}), stated(margin=0.1))[0].state is State.SUPPORTED


@pytest.mark.parametrize(
    ("similarity", "margin", "state"),
    [
        (Alike(own=0.9, untrained=0.2), 0.3, State.SUPPORTED),
        (Alike(own=0.9, untrained=0.35), 0.3, State.UNCALIBRATED),
        (Alike(own=0.9, untrained=0.75), 0.0, State.SUPPORTED),
        (Alike(own=0.9, untrained=0.85), 0.0, State.UNCALIBRATED),
    ],
)
def test_a_difference_needs_twice_its_margin_of_range(similarity: Alike, margin: float, state: State) -> None:
    decision, inputs = decide(panel_of(similarity), gap({}, null=-0.5), stated(margin=margin - 0.01 if margin else 0.0))
    assert decision.state is state
    assert f"cka range {similarity.own - similarity.untrained:.3f}" in inputs.instrument


def test_without_replicates_the_range_is_up_to_one() -> None:
    # A model is compared with itself.
    found = panel_of(Alike(own=1.0, untrained=0.2), runs=ALONE).instrument.range("cka", range(12))
    assert found.value == pytest.approx(0.8)


def test_range_over_the_claims_own_blocks() -> None:
    _, inputs = decide(panel_of(), gap({}), stated(blocks=(0, 1, 2, 3)))
    assert "cka range over blocks 0-3 0.700" in inputs.instrument


def level(similarity: Alike) -> Callable[[Mapping[str, str], float], Decision]:
    return lambda assignment, margin: exceeds(similarity(assignment["moco"], assignment["dino"]).same_depth(()), margin)


@pytest.mark.parametrize(
    ("similarity", "state"),
    [
        (Alike(own=0.9, other=0.7, untrained=0.2), State.SUPPORTED),
        (Alike(own=0.9, other=0.4, untrained=0.2), State.REFUTED),
        (Alike(own=0.9, other=0.8, untrained=0.7), State.UNCALIBRATED),
        (Alike(own=0.5, other=0.4, untrained=0.2), State.UNCALIBRATED),
    ],
)
@pytest.mark.parametrize("runs", [RUNS, ALONE])
def test_a_level_must_lie_between_replicates_and_untrained_networks(
    similarity: Alike, state: State, runs: dict[str, list[str]]
) -> None:
    decision, inputs = decide(panel_of(similarity, runs=runs), level(similarity), stated("level", 0.6))
    assert decision.state is state
    assert "anchors" in inputs.instrument


@pytest.mark.parametrize(
    ("similarity", "state"),
    [
        (Alike(own=0.9, other=0.9, untrained=0.2), State.SUPPORTED),
        (Alike(own=0.9, other=0.2, untrained=0.2), State.REFUTED),
        (Alike(own=0.9, other=0.9, untrained=0.9), State.UNCALIBRATED),
        (Alike(own=0.6, other=0.9, untrained=0.2), State.UNCALIBRATED),
    ],
)
def test_matches_must_be_there_between_replicates_and_not_with_untrained_networks(similarity: Alike, state: State) -> None:
    decision, _ = decide(panel_of(similarity), level(similarity), stated("match", 0.8))
    assert decision.state is state


@pytest.mark.parametrize(
    ("accuracies", "named"),
    [
        ({"moco_1": 66.0}, "moco_1"),
        ({"moco": 64.0, "dino": 66.0}, "moco, dino"),
        ({"supervised": 90.5}, "supervised"),
        ({"mae_2": 35.5}, "mae_2"),
        ({"random": 62.0}, "mae, mae_1, mae_2"),
    ],
)
@pytest.mark.parametrize("asks", ["difference", "level", "match", "trait"])
def test_methods_that_were_not_taught_are_not_spoken_of(accuracies: dict[str, float], named: str, asks: str) -> None:
    decision, _ = decide(panel_of(accuracies=accuracies), gap({}), stated(asks))
    assert decision.state is State.UNCALIBRATED
    measured_there = gap({})({"moco": "moco", "dino": "dino", "mae": "mae"}, 0.1)
    assert (decision.estimate, decision.interval) == (measured_there.estimate, measured_there.interval)
    assert (decision.margin, decision.n, decision.direction) == (0.1, measured_there.n, "above")
    assert (decision.p_support, decision.p_refute, decision.excess, decision.doubt) == (None, None, None, "")
    poor = decision.reason.partition("not so for ")[2]
    assert [part.split(" (lower limit ")[0] for part in poor.split(", ")] == named.split(", ")


@pytest.mark.parametrize(("pixels", "state", "bar"), [(58.0, State.SUPPORTED, ""), (62.0, State.UNCALIBRATED, "needed 77.0 %")])
def test_a_joint_embedding_must_be_well_above_raw_pixels(pixels: float, state: State, bar: str) -> None:
    decision, inputs = decide(panel_of(pixels=pixels), gap({}))
    assert decision.state is state
    assert f"dino_2 75.0 %, raw pixels {pixels:.1f} %" in inputs.instrument
    assert bar in inputs.instrument
    # A reconstruction model is not asked for its neighbours.
    assert "mae" not in inputs.instrument.split("linear probe")[0]


@pytest.mark.parametrize(
    ("published", "state"), [(75.9, State.SUPPORTED), (76.1, State.UNCALIBRATED), (73.9, State.UNCALIBRATED)]
)
def test_what_others_published_of_the_weights_must_be_met(published: float, state: State) -> None:
    panel = panel_of()
    anchored = replace(panel, instrument=replace(panel.instrument, anchors={"dino": published}))
    decision, inputs = decide(anchored, gap({}))
    assert decision.state is state
    assert f"dino 75.0 % where {published:g} % is published" in inputs.instrument


@pytest.mark.parametrize(
    ("accuracy", "own", "state", "said"),
    [
        (55.0, ["conv"], State.SUPPORTED, "mae +20.0"),
        (62.0, ["conv"], State.UNCALIBRATED, "mae +13.0"),
        (55.0, [], State.UNCALIBRATED, "no untrained network of the architecture of mae"),
    ],
)
def test_what_training_taught_is_what_an_untrained_network_of_the_kind_does_not_have(
    accuracy: float, own: list[str], state: State, said: str
) -> None:
    panel = panel_of(accuracies={"conv": accuracy})
    other = replace(panel, instrument=replace(panel.instrument, own_kind={"mae": own}))
    decision, inputs = decide(other, gap({}))
    assert decision.state is state
    assert said in inputs.instrument


def test_a_profile_without_untrained_networks_is_uncalibrated() -> None:
    assert decide(panel_of(untrained=()), gap({}))[0].state is State.UNCALIBRATED


def test_few_units_decide_nothing() -> None:
    def few(assignment: Mapping[str, str], margin: float) -> Decision:
        return exceeds(measured(5.0 if len(set(assignment.values())) == 3 else 0.0, n=7, spread=0.001), margin)

    claim = replace(stated(), about="artifacts")
    decision, _ = decide(panel_of(), few, claim)
    assert decision.state is State.INCONCLUSIVE
    assert "7 minibatches are too few to decide, needed 8" in decision.reason


def test_a_claim_about_artifacts_has_no_replicates() -> None:
    decision, inputs = decide(panel_of(runs=ALONE, untrained=()), gap({}), replace(stated(), about="artifacts"))
    assert (decision.state, inputs.runs) == (State.SUPPORTED, None)


def test_a_replicate_that_was_not_measured_is_missing() -> None:
    def rule(assignment: Mapping[str, str], margin: float) -> Decision:
        if assignment["mae"] == "mae_2":
            raise MissingArtifact("knn/mae_2", "not measured", next_step="run dvc repro")
        return gap({})(assignment, margin)

    with pytest.raises(MissingArtifact, match="mae_2"):
        decide(panel_of(), rule)


def test_a_replicate_without_a_number_has_the_last_word() -> None:
    held = exceeds(measured(0.5), 0.1)
    blind = Decision(State.UNCALIBRATED, None, None, None, None, None, "too few")
    assert agreed([held, blind, held]) is blind
