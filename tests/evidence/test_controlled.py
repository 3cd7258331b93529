"""A decision beside its control, and beside its witness."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from harness.evidence.decide import Decision, State, all_of, below, controlled, witnessed
from harness.evidence.estimate import Estimate


def decision(state, reason="because"):
    return Decision(state, 0.7, (0.6, 0.8), 0.5, 32, "minibatches", reason, p_support=0.01, p_refute=0.9)


@pytest.mark.parametrize(("state", "control"), list(itertools.product(State, State)))
def test_only_support_that_the_control_shares_is_taken_back(state, control):
    made = decision(state)
    answer = controlled(made, decision(control, "so is this"), "untrained networks")
    if state is control is State.SUPPORTED:
        assert answer.state is State.INCONCLUSIVE
        assert answer.reason == "because; holds for untrained networks too: input structure (so is this)"
        assert (answer.estimate, answer.interval, answer.n) == (made.estimate, made.interval, made.n)
    else:
        assert answer is made


def test_a_controlled_decision_is_a_part_like_any_other():
    taken_back = controlled(decision(State.SUPPORTED), decision(State.SUPPORTED), "untrained networks")
    assert all_of([decision(State.SUPPORTED), taken_back]).state is State.INCONCLUSIVE


@pytest.mark.parametrize(("state", "witness"), list(itertools.product(State, State)))
def test_a_refutation_needs_its_witness(state, witness):
    made = decision(state)
    answer = witnessed(made, decision(witness, "the one is not"))
    if state is State.REFUTED and witness is not State.REFUTED:
        assert answer.state is State.INCONCLUSIVE
        assert answer.reason.startswith("because; ")
        assert answer.reason.endswith("the one is not")
    else:
        assert answer is made


def test_a_witness_of_too_few_units_refutes_nothing():
    made, few = decision(State.REFUTED), replace(decision(State.REFUTED), n=5, unit="subsets")
    answer = witnessed(made, few)
    assert answer.state is State.INCONCLUSIVE
    assert "too few subsets to refute" in answer.reason
    assert witnessed(made, replace(few, n=6)) is made


@pytest.mark.parametrize(("units", "many"), [(32, 108), (8, 60), (4, 60), (32, 1)])
def test_the_largest_of_many_at_the_margin_is_rarely_decided(units, many):
    """All are exactly at the margin: alone, the maximum would refute nearly always."""
    rng, states, alone = np.random.default_rng(9), [], []

    def estimate(data, reduce):
        return Estimate.resample(lambda w: reduce(w @ data / len(data)), len(data), seed=0, unit="u", key="k", draws=400)

    for _ in range(300):
        data = 0.2 + rng.normal(scale=0.05, size=(units, many))
        largest = below(estimate(data, lambda means: means.max(axis=1)), 0.2)
        cell = int(data[::4].mean(axis=0).argmax())
        alone.append(largest.state)
        states.append(
            witnessed(
                largest, below(estimate(data[np.arange(units) % 4 > 0], lambda means, cell=cell: means[:, cell]), 0.2)
            ).state
        )
    # Two standard errors of 300 worlds, at 2.5 %, are 0.018.
    assert states.count("REFUTED") / 300 <= 0.05
    assert states.count("SUPPORTED") / 300 <= 0.06
    assert many == 1 or alone.count("REFUTED") / 300 > 0.8
