"""Deciding: a claim's function is called, on every replicate where a panel is given, and what it decides is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness.artifacts.errors import HarnessError, InvalidInput, MissingArtifact
from harness.evidence.claim import Inputs, undecided
from harness.verdicts.session import DECISION, INPUTS, claim_of, source_of

if TYPE_CHECKING:
    from harness.evidence.decide import Decision
    from harness.evidence.panel import Panel, Run


class NothingToDecide(Exception):
    """Ends a claim before its fixtures run."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.reason)
        self.decision = decision


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Claims that the paper shows without numbers are not decided from `published`."""
    stated = claim_of(getattr(item, "function", None))
    if stated is None or source_of(item) != "published" or stated.published == "numbers":
        return
    from harness.evidence.decide import State

    shown = "the paper shows a plot, no numbers" if stated.published == "plot" else "the paper prints nothing"
    raise NothingToDecide(undecided(State.NO_EVIDENCE, shown))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a claim and keep what it decides."""
    if claim_of(pyfuncitem.function) is None:
        return None
    stated = pyfuncitem.function.claim
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    inputs = pyfuncitem.stash.setdefault(INPUTS, Inputs(source_of(pyfuncitem)))
    run = runner(pyfuncitem.obj, given, inputs, pyfuncitem.nodeid)
    panel: Panel | None = pyfuncitem._request.getfixturevalue("panel")
    decision = run({}, stated.margin) if panel is None else panel.decide(stated, run, inputs, given)
    pyfuncitem.stash[DECISION] = _plain(pyfuncitem.nodeid, decision)
    return True


def runner(test: Callable[..., Any], given: Mapping[str, Any], inputs: Inputs, where: str) -> Run:
    """A claim's function with its fixtures, as a panel calls it. where: the claim's name in errors.

    Raises InvalidInput, when it is called, for an answer that is not a Decision or several.
    """
    from harness.evidence.decide import Decision, all_of

    def run(assignment: Mapping[str, str], margin: float | None, *, values_only: bool = False) -> Decision:
        inputs.assignment, inputs.values_only = assignment, values_only
        answer = test(**({**given, "margin": margin} if "margin" in given else given))
        parts = [answer] if isinstance(answer, Decision) else answer
        if not isinstance(parts, Sequence) or not all(isinstance(part, Decision) for part in parts):
            raise InvalidInput(where, field="return value", seen=repr(answer), expected="a Decision, or several")
        return all_of(parts)

    return run


def _plain(where: str, decision: Decision) -> Decision:
    """The decision with Python's own numbers. Raises InvalidInput where one is not finite, or a verdict has none."""
    numbers = [decision.estimate, decision.margin, *(decision.interval or ())]
    if any(number is not None and not math.isfinite(number) for number in numbers):
        raise InvalidInput(where, field="decision", seen=numbers, expected="finite numbers")
    if decision.state in ("SUPPORTED", "REFUTED") and (decision.estimate is None or decision.interval is None):
        raise InvalidInput(where, field="decision", seen=f"{decision.state} by no number", expected="estimate and interval")
    return replace(
        decision,
        estimate=None if decision.estimate is None else float(decision.estimate),
        interval=None if decision.interval is None else (float(decision.interval[0]), float(decision.interval[1])),
        margin=None if decision.margin is None else float(decision.margin),
        n=None if decision.n is None else int(decision.n),
    )


def is_explained(error: BaseException) -> bool:
    """Whether the verdict states the error; errors of other origin keep their traceback."""
    return isinstance(error, HarnessError | NothingToDecide | pytest.skip.Exception | pytest.xfail.Exception)


def decided(item: pytest.Item, call: pytest.CallInfo[None]) -> Decision:
    """What a claim's function decided, or the decision that the error which ended it stands for."""
    from harness.evidence.decide import State

    if call.excinfo is None:
        return item.stash[DECISION]
    error = call.excinfo.value
    if isinstance(error, NothingToDecide):
        return error.decision
    if isinstance(error, MissingArtifact) and call.when != "teardown":
        return undecided(State.MISSING, str(error))
    if isinstance(error, HarnessError):
        return undecided(State.INVALID, str(error))
    if isinstance(error, pytest.skip.Exception | pytest.xfail.Exception):
        return undecided(State.INVALID, f"a claim is not skipped or expected to fail ({error}): decide, or say what is missing")
    return undecided(State.INVALID, f"{type(error).__name__}: {error}")
