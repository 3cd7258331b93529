"""The pytest plugin that decides claims: collects them by source, turns decisions into outcomes, shows and writes the verdicts.

A refuted claim fails, a broken artifact is an error, and where nothing may be decided the claim is skipped: none is silent.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.evidence.claim import Claim, Reading, undecided

if TYPE_CHECKING:
    from harness.evidence.decide import Decision
    from harness.evidence.record import Record
    from harness.evidence.reversals import Reversal

_LETTERS = {
    "SUPPORTED": ("passed", "S"),
    "REFUTED": ("failed", "R"),
    "INCONCLUSIVE": ("skipped", "I"),
    "MISSING": ("skipped", "M"),
    "UNCALIBRATED": ("skipped", "U"),
    "NO_EVIDENCE": ("skipped", "N"),
    "INVALID": ("error", "X"),
}
_COLOURS = {"passed": {"green": True}, "failed": {"red": True}, "error": {"red": True}, "skipped": {"yellow": True}}
_NUMBERS = ("SUPPORTED", "REFUTED", "INCONCLUSIVE")
_RUNS = 3

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

    def __init__(self, reversals: dict[tuple[str, str], Reversal]) -> None:
        self.reversals = reversals
        self.registered: dict[str, tuple[dict[str, Any], str]] = {}
        self.records: dict[str, Record] = {}
        self.crashed: set[str] = set()

    def all_records(self) -> list[Record]:
        """One record for each registered claim and source; one that gave none says why."""
        from harness.evidence.record import Record

        records = []
        for nodeid, (stated, source) in self.registered.items():
            if nodeid not in self.records:
                reason = "the worker crashed" if nodeid in self.crashed else "not run: the session ended before it"
                told = {name: stated[name] for name in ("id", "statement", "where", "reading")}
                self.records[nodeid] = Record(**told, source=source, state="INVALID", reason=reason)
            records.append(self.records[nodeid])
        return sorted(records, key=lambda r: (r.source, r.id))


def pytest_addoption(parser: pytest.Parser) -> None:
    """--source, --verdicts, --reversals."""
    group = parser.getgroup("claims")
    group.addoption("--source", action="append", metavar="NAME", help="published or a profile; repeatable (default: embedded)")
    group.addoption("--verdicts", metavar="FILE", help="write one JSON record for each claim and source")
    group.addoption("--reversals", metavar="FILE", help="claims known not to hold (default: claims/reversals.toml)")


def pytest_configure(config: pytest.Config) -> None:
    """Read the reversals."""
    from harness.evidence import reversals

    named = config.getoption("reversals")
    path = Path(named) if named else config.rootpath / "claims" / "reversals.toml"
    try:
        known = reversals.load(path) if named or path.is_file() else {}
    except (InvalidInput, MissingArtifact) as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[_desk] = _Desk(known)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each claim once for each source."""
    if _claim(metafunc.function) is not None:
        sources = dict.fromkeys(metafunc.config.getoption("source") or ["embedded"])
        metafunc.parametrize("source", list(sources), indirect=True)


@pytest.fixture
def source(request: pytest.FixtureRequest) -> str:
    """What a claim is decided from: "published" or a profile's name."""
    name: str = request.param
    return name


@pytest.fixture
def reading(request: pytest.FixtureRequest, source: str) -> Reading:
    """Where fixtures note the artifacts that they open."""
    noted: Reading = request.node.stash.setdefault(_reading, Reading(source))
    return noted


@pytest.fixture
def margin(request: pytest.FixtureRequest) -> float:
    """The claim's margin. Raises InvalidInput when it states none."""
    stated = _claim(request.function)
    if stated is None or stated.margin is None:
        raise InvalidInput(request.node.nodeid, field="margin", seen="none", expected="a margin in the claim's decorator")
    return stated.margin


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse two claims of one id, and reversals of no claim, before anything is deselected."""
    places: dict[tuple[str, str], str] = {}
    for item in items:
        stated = _claim(getattr(item, "function", None))
        if stated is not None:
            key = (stated.id, _source(item))
            if key in places:
                raise pytest.UsageError(f"claim {stated.id} stands twice: {places[key]} and {item.nodeid}")
            places[key] = item.nodeid
    unknown = sorted({id for id, _ in config.stash[_desk].reversals} - {id for id, _ in places})
    if unknown and places and _whole(config):
        raise pytest.UsageError(f"reversals of claims that do not exist: {', '.join(unknown)}")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Remember what is to be decided; an xdist worker tells the controller, which collects nothing itself."""
    desk = session.config.stash[_desk]
    for item in session.items:
        stated = _claim(getattr(item, "function", None))
        if stated is not None:
            desk.registered[item.nodeid] = (asdict(stated), _source(item))
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["claims"] = desk.registered


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker is done or dead; any one that lived to tell knows all claims."""
    told = getattr(node, "workeroutput", {}).get("claims", {})
    node.config.stash[_desk].registered.update({nodeid: (stated, source) for nodeid, (stated, source) in told.items()})


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

    shown = "shows a plot and prints no numbers" if stated.published == "plot" else "shows nothing of it"
    raise _NothingToDecide(undecided(State.NO_EVIDENCE, f"the paper {shown}"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a claim and keep what it decides."""
    if _claim(pyfuncitem.function) is None:
        return None
    from harness.evidence.decide import Decision, all_of

    names = pyfuncitem._fixtureinfo.argnames
    answer = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    parts = [answer] if isinstance(answer, Decision) else answer
    if not isinstance(parts, Sequence) or not all(isinstance(part, Decision) for part in parts):
        raise InvalidInput(pyfuncitem.nodeid, field="return value", seen=repr(answer), expected="a Decision, or several")
    pyfuncitem.stash[_decision] = all_of(parts)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a claim's decision, or what kept it from one, into the test's outcome and its record."""
    report = yield
    stated = _claim(getattr(item, "function", None))
    if stated is None or call.when == "teardown" or (call.when == "setup" and call.excinfo is None):
        return report
    decision = _decided(item, call)
    record = _record(stated, item, decision)
    text = _text(record)
    state = record.state
    report.outcome = "failed" if state in ("REFUTED", "INVALID") else "passed" if state == "SUPPORTED" else "skipped"
    # A foreign exception keeps its traceback; everything else is told in the verdict's words.
    known = call.excinfo is None or call.excinfo.errisinstance((InvalidInput, MissingArtifact, _NothingToDecide))
    if report.outcome == "skipped":
        report.longrepr = (str(item.path), (item.location[1] or 0) + 1, text)
    elif known:
        report.longrepr = text if report.outcome == "failed" else None
    reversal = item.config.stash[_desk].reversals.get((stated.id, record.source))
    if reversal is not None and state == "REFUTED":
        report.outcome, report.wasxfail = "skipped", f"known since {reversal.date}: {reversal.evidence}"
        record = replace(record, reason=f"{record.reason}; {report.wasxfail}")
    elif reversal is not None and state in _NUMBERS:
        report.outcome = "failed"
        report.longrepr = f"the reversal of {reversal.date} ({reversal.evidence}) no longer holds\n{text}"
    report.user_properties = [*report.user_properties, ("verdict", json.dumps(asdict(record)))]
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """A letter and a word for each state."""
    record = _sent(report)
    if record is None:
        return None
    if hasattr(report, "wasxfail"):
        return "xfailed", "V", ("REVERSED", {"yellow": True})
    category, letter = _LETTERS[record.state]
    if report.failed and category not in ("failed", "error"):
        return "failed", "F", (f"{record.state}, REVERSAL GONE", {"red": True})
    return category, letter, (record.state, _COLOURS[category])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the records of reports that come from here or from workers."""
    record = _sent(report)
    if record is not None and _current is not None:
        _current.records[report.nodeid] = record


# Reports reach the controller without its configuration.
_current: _Desk | None = None


def pytest_sessionstart(session: pytest.Session) -> None:
    """From here on reports belong to this session."""
    global _current
    _current = session.config.stash[_desk]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the verdicts; nothing decided and something missing is not a success."""
    if hasattr(session.config, "workerinput"):
        return
    records = session.config.stash[_desk].all_records()
    path = session.config.getoption("verdicts")
    if path:
        from harness.evidence.record import write

        write(Path(path), records)
    if session.exitstatus == pytest.ExitCode.OK and _nothing_measured(records):
        session.exitstatus = MissingArtifact.exit_code


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The verdict table."""
    records = config.stash[_desk].all_records()
    if not records:
        return
    terminalreporter.section("verdicts")
    rows = [_row(record) for record in records]
    head = ("verdict", "claim", "estimate", "95 % interval", "margin", "n", "source", "statement")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head) - 1)]
    terminalreporter.write_line("  ".join(text.ljust(width) for text, width in zip(head, [*widths, 0], strict=True)))
    for record, row in zip(records, rows, strict=True):
        terminalreporter.write(row[0].ljust(widths[0]), **_COLOURS[_LETTERS[record.state][0]])
        rest = zip(row[1:], [*widths[1:], 0], strict=True)
        terminalreporter.write_line("  " + "  ".join(text.ljust(width) for text, width in rest))
    if any(record.provisional for record in records):
        terminalreporter.write_line(f"* provisional: about methods, from fewer than {_RUNS} pre-training runs of each")
    counts = {state: sum(record.state == state for record in records) for state in _LETTERS}
    terminalreporter.write_line(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    if _nothing_measured(records):
        terminalreporter.write_line("nothing could be decided: run dvc repro, then pytest claims")


def _nothing_measured(records: Sequence[Record]) -> bool:
    states = {record.state for record in records}
    return "MISSING" in states and not states & set(_NUMBERS)


def _claim(function: object) -> Claim | None:
    stated = getattr(function, "claim", None)
    return stated if isinstance(stated, Claim) else None


def _source(item: pytest.Item) -> str:
    source: str = item.callspec.params["source"]  # type: ignore[attr-defined]
    return source


def _whole(config: pytest.Config) -> bool:
    """Whether folders were asked for, not single files or tests: then all claims of the folder are there."""
    return all(Path(config.invocation_params.dir, arg.split("::")[0]).is_dir() and "::" not in arg for arg in config.args)


def _decided(item: pytest.Item, call: pytest.CallInfo[None]) -> Decision:
    from harness.evidence.decide import State

    if call.excinfo is None:
        return item.stash[_decision]
    error = call.excinfo.value
    if isinstance(error, _NothingToDecide):
        return error.decision
    if isinstance(error, MissingArtifact):
        return undecided(State.MISSING, str(error))
    if isinstance(error, InvalidInput):
        return undecided(State.INVALID, str(error))
    return undecided(State.INVALID, f"{type(error).__name__}: {error}")


def _record(stated: Claim, item: pytest.Item, decision: Decision) -> Record:
    from harness.evidence.record import Record

    seen = item.stash.get(_reading, Reading(_source(item)))
    by_number = decision.state in _NUMBERS
    few = seen.runs is None or seen.runs < _RUNS
    return Record(
        id=stated.id,
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
        provenance={"artifacts": dict(sorted(seen.artifacts.items())), "runs": seen.runs},
    )


def _sent(report: Any) -> Record | None:
    from harness.evidence.record import Record

    for name, text in getattr(report, "user_properties", ()):
        if name == "verdict":
            row = json.loads(text)
            return Record(**(row | {"interval": row["interval"] and tuple(row["interval"])}))
    return None


def _text(record: Record) -> str:
    lines = [
        f"{record.state} {record.id} ({record.source}; {record.where})",
        f"  claim: {record.statement}",
        f"  reading: {record.reading}",
        f"  {record.reason}",
    ]
    artifacts = record.provenance.get("artifacts", {})
    lines += [f"  read: {path} {sha[:12]}" for path, sha in artifacts.items()]
    return "\n".join(lines)


def _row(record: Record) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}"

    interval = "-" if record.interval is None else f"[{number(record.interval[0])}, {number(record.interval[1])}]"
    n = "-" if record.n is None else f"{record.n} {record.unit}"
    state = record.state + ("*" if record.provisional else "")
    return state, record.id, number(record.estimate), interval, number(record.margin), n, record.source, record.statement
