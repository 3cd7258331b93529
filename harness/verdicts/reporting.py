"""Reporting: a decision becomes a test outcome, a record, a line of the terminal and the verdict file.

A refuted claim fails, a broken artifact is an error, and a claim that cannot be decided is skipped; each is reported.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.artifacts.errors import BadEnvironment, MissingArtifact
from harness.evidence.claim import Claim, Inputs
from harness.verdicts import show, table
from harness.verdicts.deciding import decided, is_explained
from harness.verdicts.session import INPUTS, SESSION, claim_of, id_of, record_of, source_of

if TYPE_CHECKING:
    from harness.evidence.decide import Decision
    from harness.verdicts.record import Record

# What is skipped has categories of its own: pytest's summary of "skipped" gives all of them the first one's word. A refuted
# claim and a broken artifact keep pytest's own, which are failures.
_CATEGORIES = {"REFUTED": "failed", "INVALID": "error"}


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport, sched: Any) -> None:
    """xdist reports the test in which a worker died as failed."""
    sched.config.stash[SESSION].crashed.add(crashitem)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a claim's decision, or what kept it from one, into the test's outcome and its record."""
    report = yield
    stated = claim_of(getattr(item, "function", None))
    if stated is None or (call.when != "call" and call.excinfo is None):
        return report
    # A claim is expected to fail by the reversals alone, never by a mark.
    if hasattr(report, "wasxfail"):
        del report.wasxfail
    record = _record(stated, item, decided(item, call))
    text = show.text(record)
    state = record.state
    passed = state in ("SUPPORTED", *show.FAMILY_STATES)
    report.outcome = "failed" if state in ("REFUTED", "INVALID") else "passed" if passed else "skipped"
    if report.outcome == "skipped":
        report.longrepr = (str(item.path), (item.location[1] or 0) + 1, text)
    elif call.excinfo is None or is_explained(call.excinfo.value):
        report.longrepr = text if report.outcome == "failed" else None
    reversal = item.config.stash[SESSION].reversals.get((stated.id, record.source))
    if reversal is not None and state == "REFUTED":
        report.outcome, report.wasxfail = "skipped", f"{show.KNOWN} {reversal.date}: {reversal.evidence}"
        record = replace(record, reason=f"{record.reason}; {report.wasxfail}")
    elif reversal is not None and state in show.NUMBERS:
        report.outcome = "failed"
        report.longrepr = f"the reversal of {reversal.date} ({reversal.evidence}) no longer holds\n{text}"
    report.user_properties = [*report.user_properties, ("verdict", json.dumps(asdict(record), allow_nan=False))]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """A letter and a word for each state."""
    record = record_of(report)
    if record is None:
        return None
    if hasattr(report, "wasxfail"):
        return "refuted as recorded", "V", ("REFUTED as recorded", show.YELLOW)
    category = _CATEGORIES.get(record.state, record.state.lower().replace("_", " "))
    letter = show.LETTERS[record.state]
    if report.failed and category not in ("failed", "error"):
        return "failed", "F", (f"{record.state}, REVERSAL GONE", {"red": True})
    return category, letter, (record.state, show.colour(record.state))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the verdicts; nothing decided and something missing is not a success."""
    config = session.config
    claims = config.stash[SESSION]
    if hasattr(config, "workerinput") or config.option.collectonly or session.exitstatus == pytest.ExitCode.USAGE_ERROR:
        return
    path = config.getoption("verdicts")
    if path:
        from harness.verdicts.record import write

        try:
            write(Path(path), claims.all_records())
        except (BadEnvironment, OSError) as error:
            claims.unwritten = f"verdicts not written: {error}"
            session.exitstatus = BadEnvironment.exit_code
    if session.exitstatus == pytest.ExitCode.OK and claims.registered and show.nothing_measured(claims.all_records()):
        session.exitstatus = MissingArtifact.exit_code


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """The verdict table, and why claims are not decided; nothing after a mistake on the command line."""
    claims = config.stash[SESSION]
    if claims.unwritten:
        terminalreporter.write_line(claims.unwritten, red=True)
    if not claims.registered or config.option.collectonly or exitstatus == pytest.ExitCode.USAGE_ERROR:
        return
    width = config.get_terminal_writer().fullwidth
    table.write(terminalreporter, claims.all_records(), width, whole=config.option.verbose > 0)


def _record(stated: Claim, item: pytest.Item, decision: Decision) -> Record:
    from harness.verdicts.record import Record

    seen = item.stash.get(INPUTS, Inputs(source_of(item)))
    by_number = decision.state in show.NUMBERS
    few = seen.runs is None or seen.runs < show.RUNS
    return Record(
        id=id_of(item, stated),
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
        title=stated.title,
        rank=stated.rank,
        quantity=stated.quantity,
        direction=decision.direction,
        doubt=decision.doubt,
        provisional=by_number and stated.about == "methods" and few and seen.source != "published",
        instrument=seen.instrument,
        provenance={"artifacts": dict(sorted(seen.artifacts.items())), "replicates": seen.runs}
        | ({"blocks": dict(sorted(seen.blocks.items()))} if seen.blocks else {}),
    )
