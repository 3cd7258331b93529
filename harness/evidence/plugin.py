"""The pytest plugin that decides claims: collects them by source, turns decisions into outcomes, shows and writes the verdicts.

A refuted claim fails, a broken artifact is an error, and where nothing may be decided the claim is skipped: none is silent.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness.artifacts.errors import BadEnvironment, HarnessError, InvalidInput, MissingArtifact
from harness.evidence import show, summary
from harness.evidence.claim import Claim, Reading, undecided

if TYPE_CHECKING:
    from harness.evidence.decide import Decision
    from harness.evidence.panel import Panel
    from harness.evidence.record import Record
    from harness.evidence.reversals import Reversal

# What is skipped has categories of its own: pytest's summary of "skipped" gives all of them the first one's word.
_LETTERS = {
    "SUPPORTED": ("passed", "S"),
    "REFUTED": ("failed", "R"),
    "JE-LIKE": ("passed", "J"),
    "REC-LIKE": ("passed", "E"),
    "NEITHER": ("passed", "O"),
    "INCONCLUSIVE": ("inconclusive", "I"),
    "MISSING": ("missing", "M"),
    "UNCALIBRATED": ("uncalibrated", "U"),
    "NO_EVIDENCE": ("no_evidence", "N"),
    "INVALID": ("error", "X"),
}

# In the place of a model where none is judged.
_NOBODY = "nobody"

_reading = pytest.StashKey[Reading]()
_decision = pytest.StashKey["Decision"]()
_desk = pytest.StashKey["_Desk"]()


class _NothingToDecide(Exception):
    """Ends a claim before its fixtures run."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.reason)
        self.decision = decision


class _Desk:
    """Where one pytest process keeps its claims, by node id, and the records of those that were decided."""

    def __init__(self, sources: Sequence[str]) -> None:
        self.sources = sources
        self.reversals: dict[tuple[str, str], Reversal] = {}
        self.problem = ""
        self.registered: dict[str, tuple[dict[str, Any], str]] = {}
        self.records: dict[str, Record] = {}
        self.crashed: set[str] = set()
        self.unwritten = ""
        # Workers put here what they collected, before any of them can crash.
        self.folder: tempfile.TemporaryDirectory[str] | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the records of reports that come from here or from workers; a teardown's comes last and counts."""
        record = _sent(report)
        if record is not None:
            self.records[report.nodeid] = record

    def all_records(self) -> list[Record]:
        """One record for each registered claim and source; one that gave none says why."""
        from harness.evidence.record import Record

        for nodeid, (stated, source) in self.registered.items():
            if nodeid in self.crashed or nodeid not in self.records:
                reason = "the worker crashed" if nodeid in self.crashed else "not run: the session ended before it"
                told = {name: stated[name] for name in ("id", "statement", "where", "reading")}
                self.records[nodeid] = Record(**told, source=source, state="INVALID", reason=reason)
        return sorted((self.records[nodeid] for nodeid in self.registered), key=lambda r: (r.source, r.id))


def pytest_addoption(parser: pytest.Parser) -> None:
    """--source, --model, --verdicts, --reversals."""
    group = parser.getgroup("claims")
    group.addoption("--source", action="append", metavar="NAME", help="published or a profile; repeatable (default: embedded)")
    group.addoption("--model", action="append", metavar="NAME", help="judge this model, and nothing else; repeatable")
    group.addoption(
        "--verdicts", metavar="FILE", help="write a record for each claim and source, as JSON, or as a table to FILE.csv"
    )
    group.addoption("--reversals", metavar="FILE", help="claims known not to hold (default: claims/reversals.toml)")


def pytest_configure(config: pytest.Config) -> None:
    """Check the options."""
    sources = list(dict.fromkeys(config.getoption("source") or ["embedded"]))
    for name in sources:
        if not re.fullmatch("[a-z0-9_]+", name):
            raise pytest.UsageError(f"--source {name}: expected published or a profile's name, of a-z, 0-9 and _")
    path = config.getoption("verdicts")
    if path and Path(path).is_dir():
        raise pytest.UsageError(f"--verdicts {path}: is a folder, expected a file")
    config.stash[_desk] = _Desk(sources)
    config.pluginmanager.register(config.stash[_desk], "claims-desk")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what workers left."""
    desk = config.stash.get(_desk, None)
    if desk is not None and desk.folder is not None:
        desk.folder.cleanup()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each claim once for each source, and those about a model for each that is judged."""
    stated = _claim(metafunc.function)
    if stated is None:
        return
    metafunc.parametrize("source", metafunc.config.stash[_desk].sources, indirect=True)
    if stated.about == "model":
        metafunc.parametrize("model", list(dict.fromkeys(metafunc.config.getoption("model") or [_NOBODY])))


@pytest.fixture
def source(request: pytest.FixtureRequest) -> str:
    """What a claim is decided from: "published" or a profile's name. Raises InvalidInput outside of claims."""
    if not hasattr(request, "param"):
        raise InvalidInput(request.node.nodeid, field="source", seen="a test", expected="a claim: use it under @claim")
    name: str = request.param
    return name


@pytest.fixture
def reading(request: pytest.FixtureRequest, source: str) -> Reading:
    """Where fixtures note the artifacts that they open."""
    noted: Reading = request.node.stash.setdefault(_reading, Reading(source))
    return noted


@pytest.fixture
def panel() -> Panel | None:
    """The runs that a claim about methods is decided on. A conftest overrides it; without one each claim is decided once."""
    return None


@pytest.fixture
def margin(request: pytest.FixtureRequest) -> float:
    """The claim's margin. Raises InvalidInput when it states none."""
    stated = _claim(request.function)
    if stated is None or stated.margin is None:
        raise InvalidInput(request.node.nodeid, field="margin", seen="none", expected="a margin in the claim's decorator")
    return stated.margin


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse two claims of one id, and reversals of no claim, before anything is deselected."""
    desk = config.stash[_desk]
    try:
        _check(session, desk, items)
    except (HarnessError, pytest.UsageError) as error:
        if not hasattr(config, "workerinput"):
            raise pytest.UsageError(str(error)) from error
        # A worker that raises is replaced by another that raises: the controller must say it.
        desk.problem = str(error)
        items.clear()
    # With --model nothing but claims about it, without it all but those.
    judging = bool(config.getoption("model"))
    claims = [(item, _claim(getattr(item, "function", None))) for item in items]
    items[:] = [item for item, stated in claims if (stated is not None and stated.about == "model") is judging]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Remember what is to be decided; an xdist worker tells the controller, which collects nothing itself."""
    desk = session.config.stash[_desk]
    for item in session.items:
        stated = _claim(getattr(item, "function", None))
        if stated is not None:
            desk.registered[item.nodeid] = (asdict(stated) | {"id": _id(item, stated)}, _source(item))
    told = getattr(session.config, "workerinput", None)
    if told is not None:
        path = Path(told["claims"], told["workerid"])
        path.write_text(json.dumps({"problem": desk.problem, "registered": desk.registered}))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where to leave what it collects."""
    desk = node.config.stash[_desk]
    if desk.folder is None:
        desk.folder = tempfile.TemporaryDirectory(prefix="claims-")
    node.workerinput["claims"] = desk.folder.name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """Read what a worker collected, before it runs any of it."""
    desk = node.config.stash[_desk]
    told = json.loads(Path(desk.folder.name, node.workerinput["workerid"]).read_text())
    if told["problem"]:
        raise pytest.UsageError(told["problem"])
    desk.registered.update({nodeid: (stated, source) for nodeid, (stated, source) in told["registered"].items()})


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport, sched: Any) -> None:
    """xdist reports the test in which a worker died as failed."""
    sched.config.stash[_desk].crashed.add(crashitem)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What the paper shows without numbers is not read from its numbers."""
    stated = _claim(getattr(item, "function", None))
    if stated is None or _source(item) != "published" or stated.published == "numbers":
        return
    from harness.evidence.decide import State

    shown = "the paper shows a plot, no numbers" if stated.published == "plot" else "the paper prints nothing"
    raise _NothingToDecide(undecided(State.NO_EVIDENCE, shown))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a claim and keep what it decides."""
    if _claim(pyfuncitem.function) is None:
        return None
    from harness.evidence.decide import Decision, all_of

    stated = pyfuncitem.function.claim
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    reading = pyfuncitem.stash.setdefault(_reading, Reading(_source(pyfuncitem)))

    def run(cast: Mapping[str, str], margin: float | None, *, bare: bool = False) -> Decision:
        reading.cast, reading.bare = cast, bare
        answer = pyfuncitem.obj(**(given | ({"margin": margin} if "margin" in given else {})))
        parts = [answer] if isinstance(answer, Decision) else answer
        if not isinstance(parts, Sequence) or not all(isinstance(part, Decision) for part in parts):
            raise InvalidInput(pyfuncitem.nodeid, field="return value", seen=repr(answer), expected="a Decision, or several")
        return all_of(parts)

    panel: Panel | None = pyfuncitem._request.getfixturevalue("panel")
    decision = run({}, stated.margin) if panel is None else panel.decide(stated, run, reading, given)
    pyfuncitem.stash[_decision] = _plain(pyfuncitem.nodeid, decision)
    return True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a claim's decision, or what kept it from one, into the test's outcome and its record."""
    report = yield
    stated = _claim(getattr(item, "function", None))
    if stated is None or (call.when != "call" and call.excinfo is None):
        return report
    # A claim is expected to fail by the reversals alone, never by a mark.
    if hasattr(report, "wasxfail"):
        del report.wasxfail
    record = _record(stated, item, _decided(item, call))
    text = show.text(record)
    state = record.state
    passed = state in ("SUPPORTED", *show.KIN)
    report.outcome = "failed" if state in ("REFUTED", "INVALID") else "passed" if passed else "skipped"
    if report.outcome == "skipped":
        report.longrepr = (str(item.path), (item.location[1] or 0) + 1, text)
    elif call.excinfo is None or _has_words(call.excinfo.value):
        report.longrepr = text if report.outcome == "failed" else None
    reversal = item.config.stash[_desk].reversals.get((stated.id, record.source))
    if reversal is not None and state == "REFUTED":
        report.outcome, report.wasxfail = "skipped", f"known since {reversal.date}: {reversal.evidence}"
        record = replace(record, reason=f"{record.reason}; {report.wasxfail}")
    elif reversal is not None and state in show.NUMBERS:
        report.outcome = "failed"
        report.longrepr = f"the reversal of {reversal.date} ({reversal.evidence}) no longer holds\n{text}"
    report.user_properties = [*report.user_properties, ("verdict", json.dumps(asdict(record), allow_nan=False))]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """A letter and a word for each state."""
    record = _sent(report)
    if record is None:
        return None
    if hasattr(report, "wasxfail"):
        return "xfailed", "V", ("REVERSED", show.YELLOW)
    category, letter = _LETTERS[record.state]
    if report.failed and category not in ("failed", "error"):
        return "failed", "F", (f"{record.state}, REVERSAL GONE", {"red": True})
    return category, letter, (record.state, show.colour(record.state))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the verdicts; nothing decided and something missing is not a success."""
    config = session.config
    desk = config.stash[_desk]
    if hasattr(config, "workerinput") or config.option.collectonly or session.exitstatus == pytest.ExitCode.USAGE_ERROR:
        return
    path = config.getoption("verdicts")
    if path:
        from harness.evidence.record import write

        try:
            write(Path(path), desk.all_records())
        except (BadEnvironment, OSError) as error:
            desk.unwritten = f"verdicts not written: {error}"
            session.exitstatus = BadEnvironment.exit_code
    if session.exitstatus == pytest.ExitCode.OK and desk.registered and show.nothing_measured(desk.all_records()):
        session.exitstatus = MissingArtifact.exit_code


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The verdict table, and why claims have no number."""
    desk = config.stash[_desk]
    if desk.unwritten:
        terminalreporter.write_line(desk.unwritten, red=True)
    if not desk.registered or config.option.collectonly:
        return
    width = config.get_terminal_writer().fullwidth
    summary.table(terminalreporter, desk.all_records(), width, whole=config.option.verbose > 0)


def _claim(function: object) -> Claim | None:
    stated = getattr(function, "claim", None)
    return stated if isinstance(stated, Claim) else None


def _parameter(item: pytest.Item, name: str) -> str:
    return str(cast(pytest.Function, item).callspec.params[name])


def _source(item: pytest.Item) -> str:
    return _parameter(item, "source")


def _id(item: pytest.Item, stated: Claim) -> str:
    """The claim's id, behind the name of the model that it is about."""
    return f"{_parameter(item, 'model')}/{stated.id}" if stated.about == "model" else stated.id


def _check(session: pytest.Session, desk: _Desk, items: Sequence[pytest.Item]) -> None:
    """Find the claims among the items and read the reversals. Raises UsageError, InvalidInput, MissingArtifact."""
    config = session.config
    places: dict[tuple[str, str], str] = {}
    for item in items:
        stated = _claim(getattr(item, "function", None))
        if stated is not None:
            key = (_id(item, stated), _source(item))
            if key in places:
                raise pytest.UsageError(f"claim {key[0]} stands twice: {places[key]} and {item.nodeid}")
            places[key] = item.nodeid
    named = config.getoption("reversals")
    path = Path(named) if named else config.rootpath / "claims" / "reversals.toml"
    if not named and not (places and path.is_file()):
        return
    from harness.evidence import reversals

    desk.reversals = reversals.load(path)
    unknown = sorted({id for id, _ in desk.reversals} - {id for id, _ in places})
    if unknown and places and not session.testsfailed and _whole(config, path):
        raise pytest.UsageError(f"{path}: reversals of claims that do not exist: {', '.join(unknown)}")


def _whole(config: pytest.Config, reversals: Path) -> bool:
    """Whether a folder with all claims was collected, and no file in it was left out."""
    if any(config.getoption(name, None) for name in ("lf", "ignore", "ignore_glob")):
        return False
    claims = [folder.resolve() for folder in (config.rootpath / "claims", reversals.parent) if folder.is_dir()]
    asked = [Path(config.invocation_params.dir, arg).resolve() for arg in config.args if "::" not in arg]
    return any(folder.is_relative_to(path) for path in asked if path.is_dir() for folder in claims)


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


def _has_words(error: BaseException) -> bool:
    """Whether the error is told in the verdict's words; a foreign one keeps its traceback."""
    return isinstance(error, HarnessError | _NothingToDecide | pytest.skip.Exception | pytest.xfail.Exception)


def _decided(item: pytest.Item, call: pytest.CallInfo[None]) -> Decision:
    from harness.evidence.decide import State

    if call.excinfo is None:
        return item.stash[_decision]
    error = call.excinfo.value
    if isinstance(error, _NothingToDecide):
        return error.decision
    if isinstance(error, MissingArtifact) and call.when != "teardown":
        return undecided(State.MISSING, str(error))
    if isinstance(error, HarnessError):
        return undecided(State.INVALID, str(error))
    if isinstance(error, pytest.skip.Exception | pytest.xfail.Exception):
        return undecided(State.INVALID, f"a claim is not skipped or expected to fail ({error}): decide, or say what is missing")
    return undecided(State.INVALID, f"{type(error).__name__}: {error}")


def _record(stated: Claim, item: pytest.Item, decision: Decision) -> Record:
    from harness.evidence.record import Record

    seen = item.stash.get(_reading, Reading(_source(item)))
    by_number = decision.state in show.NUMBERS
    few = seen.runs is None or seen.runs < show.RUNS
    return Record(
        id=_id(item, stated),
        source=seen.source,
        state=str(decision.state),
        statement=stated.statement,
        where=stated.where,
        reading=stated.reading,
        reason=decision.reason,
        estimate=decision.estimate,
        interval=decision.interval,
        margin=decision.margin,
        n=decision.n,
        unit=decision.unit,
        provisional=by_number and stated.about == "methods" and few and seen.source != "published",
        instrument=seen.instrument,
        provenance={"artifacts": dict(sorted(seen.artifacts.items())), "replicates": seen.runs}
        | ({"blocks": dict(sorted(seen.blocks.items()))} if seen.blocks else {}),
    )


def _sent(report: Any) -> Record | None:
    for name, text in getattr(report, "user_properties", ()):
        if name == "verdict":
            from harness.evidence.record import from_row

            return from_row(json.loads(text))
    return None
