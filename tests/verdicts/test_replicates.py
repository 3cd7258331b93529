"""The main findings, decided on each pre-training run by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.evidence.claim import Claim, Inputs
from harness.evidence.decide import Decision, State
from harness.evidence.panel import Panel
from harness.verdicts.replicates import main_findings, on_each_run

S, R = State.SUPPORTED, State.REFUTED
MODULE = """
from harness.evidence.claim import claim

def stated(id, **more):
    return claim(id, where="here", statement="A statement.", reading="a rule", **more)

@stated("one", main=True)
def test_one(knn, margin): ...

@stated("of-artifacts", main=True, about="artifacts")
def test_of_artifacts(knn): ...

@stated("a-detail")
def test_detail(knn): ...

@stated("one/again", main=True)
def test_one_again(knn): ...

def test_no_claim(): ...
"""


def test_main_findings_are_claims_about_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_planted_module.py").write_text(MODULE)
    (tmp_path / "other.py").write_text("raise AssertionError('no test module')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "test_planted_module", raising=False)
    assert [(stated.id, test.__name__) for stated, test in main_findings(tmp_path)] == [("one", "test_one")]


class Runs:
    """In the place of a panel: the states of each claim, and what it was asked."""

    def __init__(self, states: dict[str, list[State]], inputs: Inputs) -> None:
        self.states, self.inputs, self.asked = states, inputs, []

    def on_each_run(self, stated: Claim, run: Callable[..., Decision], inputs: Inputs, fixtures: Any) -> list[Decision]:
        assert inputs is self.inputs
        first = run({}, 0.25)
        self.asked.append((stated.id, sorted(inputs.roles), list(fixtures), first.margin))
        inputs.runs, inputs.instrument = 3, "strong"
        return [Decision(state, 0.0, (0.0, 0.0), 0.0, 9, "images", "") for state in self.states[stated.id]]


def stated(id: str) -> Claim:
    return Claim(id, "here", "A statement.", "a rule", 0.1, "methods", "plot")


def rule(knn: Callable[[str], float], margin: float) -> Decision:
    return Decision(S, knn("mae"), (0.0, 1.0), margin, 9, "images", "")


def alone(knn: Callable[[str], float]) -> Decision:
    return Decision(S, knn("dino"), (0.0, 1.0), None, 9, "images", "")


def unmeasured(knn: Callable[[str], float]) -> Decision:
    raise MissingArtifact("knn/mae", "not measured", next_step="run dvc repro")


def test_each_finding_has_the_verdicts_of_its_runs() -> None:
    inputs = Inputs("embedded")

    def knn(model: str) -> float:
        inputs.model_of(model)
        return 0.5

    states = {
        "mixed": [S, R, S],
        "held": [S, S, S],
        "weak": [State.UNCALIBRATED],
        "single": [S],
        "partly": [S, State.MISSING, S],
    }
    panel = Runs(states, inputs)
    claims: list[tuple[Claim, Callable[..., Any]]] = [(stated(id), rule) for id in states]
    claims += [(stated("gone"), unmeasured)]
    claims[1] = (stated("held"), alone)
    found = on_each_run(claims, {"knn": knn, "margin": 0.1}.__getitem__, cast(Panel, panel), inputs)
    assert found == {"mixed": [S, R, S], "held": [S, S, S]}
    # Each is asked with its own fixtures, and its roles are its own.
    assert panel.asked[:2] == [("mixed", ["mae"], ["knn", "margin"], 0.25), ("held", ["dino"], ["knn"], None)]
    assert (inputs.roles, inputs.runs, inputs.instrument, inputs.assignment) == (set(), None, "", {})


def test_a_broken_artifact_is_no_missing_one() -> None:
    def broken(knn: Callable[[str], float]) -> Decision:
        raise InvalidInput("knn/mae", field="vote", seen="nothing", expected="votes")

    inputs = Inputs("embedded")
    with pytest.raises(InvalidInput, match="vote"):
        on_each_run([(stated("one"), broken)], {"knn": None}.__getitem__, cast(Panel, Runs({}, inputs)), inputs)
