"""A claim of the paper: what it says, where, how we read it, and the function that decides it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast, get_args

import pytest

from harness.artifacts.errors import InvalidInput
from harness.evidence.resampling import BLOCKS
from harness.params.models import start_of

if TYPE_CHECKING:
    from harness.evidence.decide import Decision, State

    Verdict = Decision | Sequence[Decision]

Test = TypeVar("Test", bound=Callable[..., Any])
About = Literal["methods", "artifacts", "model"]
Published = Literal["plot", "numbers", "none"]
# What a claim asks of a measure, and so what the measure must be able to tell before it is answered.
Asks = Literal["difference", "level", "match", "trait"]


# So that a title and its numbers fit on a line of a terminal.
LONGEST_TITLE = 40


@dataclass(frozen=True)
class Claim:
    """One statement of the paper.

    id: stable, e.g. "je-je-high", or "je-je-high/cls" for a second measure of the same. where: section and figure.
    reading: the rule that decides. margin: in the estimate's unit; None where the rule states its own. about: "methods" when
    the statement is about training objectives, whose honest unit is the pre-training run; "model" when it is about the one
    that --model names. published: what the paper shows.
    title: the statement in at most 40 characters. main: whether it is one of the paper's main findings, those of its abstract,
    its list of contributions and its captions in bold. quantity: what the estimate is measured in.
    asks: "difference", whether one similarity or gap between methods is larger than another; "level", whether a similarity is
    above or below a fixed number; "match", whether layers correspond; "trait", what models of one method show by themselves.
    blocks: those whose similarity decides.
    """

    id: str
    where: str
    statement: str
    reading: str
    margin: float | None
    about: About
    published: Published
    asks: Asks = "trait"
    blocks: tuple[int, ...] = BLOCKS
    title: str = ""
    main: bool = False
    quantity: str = ""

    @property
    def rank(self) -> str:
        """main, detail, or second: the claim again by a second measure."""
        if "/" in self.id:
            return "second"
        return "main" if self.main else "detail"


class Claimed(Protocol):
    """A test function that `claim` has marked."""

    claim: Claim


def claim(
    id: str,
    *,
    where: str,
    statement: str,
    reading: str,
    margin: float | None = None,
    about: About = "methods",
    published: Published = "plot",
    asks: Asks = "trait",
    blocks: Sequence[int] = BLOCKS,
    title: str = "",
    main: bool = False,
    quantity: str = "",
) -> Callable[[Test], Test]:
    """Make a pytest function a claim. It returns a Decision, or several that must all hold, and may use the fixtures source,
    inputs and margin. Called directly it is the plain function.

    Raises InvalidInput on an id that is not lower-case words joined by dashes, an empty field, an unknown word, or a
    margin that is not finite.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9-]+)?", id):
        raise InvalidInput("claim", field="id", seen=id, expected="lower-case words joined by dashes")
    for name, text in (("where", where), ("statement", statement), ("reading", reading)):
        if not text.strip():
            raise InvalidInput(f"claim {id}", field=name, seen="nothing", expected="a sentence")
    for name, word, known in (
        ("about", about, get_args(About)),
        ("published", published, get_args(Published)),
        ("asks", asks, get_args(Asks)),
    ):
        if word not in known:
            raise InvalidInput(f"claim {id}", field=name, seen=word, expected=" or ".join(known))
    if margin is not None and not math.isfinite(margin):
        raise InvalidInput(f"claim {id}", field="margin", seen=margin, expected="a finite number")
    if len(title) > LONGEST_TITLE:
        raise InvalidInput(f"claim {id}", field="title", seen=title, expected=f"at most {LONGEST_TITLE} characters")
    stated = Claim(id, where, statement, reading, margin, about, published, asks, tuple(blocks), title, main, quantity)

    def mark(test: Test) -> Test:
        marked: Test = pytest.mark.usefixtures("source", "panel")(test)
        cast(Claimed, marked).claim = stated
        return marked

    return mark


def undecided(state: State, reason: str) -> Decision:
    """A decision without a number: MISSING, UNCALIBRATED, INVALID or NO_EVIDENCE, and why.

    Raises InvalidInput for a state that only a number can give.
    """
    from harness.evidence.decide import NO_NUMBER, Decision

    if state not in NO_NUMBER:
        raise InvalidInput("decision", field="state", seen=state, expected=" or ".join(NO_NUMBER))
    return Decision(state, None, None, None, None, None, reason)


@dataclass
class Inputs:
    """What one claim reads: the source, the run that stands for each method, and a record of every artifact that was opened.

    assignment: by the name of a method the run that stands for it, where it is not the run of that name. values_only: whether
    only values are asked for, no intervals.
    What is recorded: artifacts, by path their SHA-256; roles, the methods that the claim asked for, by the names it uses;
    runs, how many pre-training runs of each method decided; instrument, what was found of the measures' power; blocks, of
    each model whose number of blocks is not twelve.
    """

    source: str
    artifacts: dict[str, str] = field(default_factory=dict)
    runs: int | None = None
    assignment: Mapping[str, str] = field(default_factory=dict)
    roles: set[str] = field(default_factory=set)
    values_only: bool = False
    instrument: str = ""
    blocks: dict[str, int] = field(default_factory=dict)

    def model_of(self, role: str) -> str:
        """The model to open for a role. The run that stands for a method stands for it fine-tuned too, unless another is
        assigned.
        """
        start = start_of(role)
        self.roles |= {role, start}
        return self.assignment.get(role, self.assignment.get(start, start) + role.removeprefix(start))

    def record(self, path: Path | str, sha256: str) -> None:
        """Record an artifact and its SHA-256. Raises InvalidInput when it has another than before."""
        if self.artifacts.setdefault(str(path), sha256) != sha256:
            before = self.artifacts[str(path)]
            raise InvalidInput(path, field="sha256", seen=sha256, expected=before, next_step="let dvc repro end first")

    def record_depth(self, model: str, blocks: int) -> None:
        """Record a model of another depth than twelve blocks, whose blocks are read at the same share of it."""
        if blocks != len(BLOCKS):
            self.blocks[model] = blocks

    def record_runs(self, runs: int) -> None:
        """Record the number of pre-training runs; the fewest count. Raises InvalidInput below 1."""
        if runs < 1:
            raise InvalidInput(self.source, field="replicates", seen=runs, expected="at least 1")
        self.runs = runs if self.runs is None else min(self.runs, runs)
