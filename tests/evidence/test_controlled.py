"""A decision beside its control."""

import itertools

import pytest

from harness.evidence.decide import Decision, State, all_of, controlled


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
