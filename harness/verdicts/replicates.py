"""The paper's main findings, decided on each pre-training run by itself."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.artifacts.errors import MissingArtifact
from harness.evidence.claim import Claim, Inputs
from harness.verdicts.deciding import runner
from harness.verdicts.session import claim_of

if TYPE_CHECKING:
    from harness.evidence.decide import State
    from harness.evidence.panel import Panel


@pytest.fixture
def findings(request: pytest.FixtureRequest, panel: Panel | None, inputs: Inputs) -> dict[str, list[State]]:
    """By the id of each main finding of the claim's folder that can be decided its verdict on each pre-training run."""
    return {} if panel is None else on_each_run(main_findings(request.path.parent), request.getfixturevalue, panel, inputs)


def main_findings(folder: Path) -> list[tuple[Claim, Callable[..., Any]]]:
    """The claims about methods that are main findings, with their functions, from a folder's modules as pytest imports them."""
    modules = [importlib.import_module(path.stem) for path in sorted(folder.glob("test_*.py"))]
    known = [(claim_of(test), test) for module in modules for test in vars(module).values() if callable(test)]
    return [(stated, test) for stated, test in known if stated and stated.rank == "main" and stated.about == "methods"]


def on_each_run(
    claims: Iterable[tuple[Claim, Callable[..., Any]]], fixture: Callable[[str], Any], panel: Panel, inputs: Inputs
) -> dict[str, list[State]]:
    """By a claim's id its verdict on each pre-training run.

    fixture: the name of a fixture to its value. inputs: where fixtures record what they open.

    A claim is left out that is not measured or not calibrated, or that has a single run.
    """
    from harness.evidence.decide import NO_NUMBER

    found = {}
    for stated, test in claims:
        names = inspect.signature(test).parameters
        # Which methods a claim asks for is recorded here, and decides which runs it is decided on.
        inputs.roles = set()
        try:
            given = {name: fixture(name) for name in names}
            each = panel.on_each_run(stated, runner(test, given, inputs, stated.id), inputs, names)
        except MissingArtifact:
            continue
        if len(each) > 1 and not any(decision.state in NO_NUMBER for decision in each):
            found[stated.id] = [decision.state for decision in each]
    inputs.roles, inputs.instrument, inputs.assignment, inputs.runs = set(), "", {}, None
    return found
