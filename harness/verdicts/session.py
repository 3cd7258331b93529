"""What the hooks of a pytest process share: its claims, and the records of those that were decided."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness.evidence.claim import Claim, Inputs

if TYPE_CHECKING:
    from harness.evidence.decide import Decision
    from harness.verdicts.record import Record
    from harness.verdicts.reversals import Reversal

INPUTS: pytest.StashKey[Inputs] = pytest.StashKey()
DECISION: pytest.StashKey[Decision] = pytest.StashKey()
SESSION: pytest.StashKey[ClaimSession] = pytest.StashKey()


class ClaimSession:
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
        record = record_of(report)
        if record is not None:
            self.records[report.nodeid] = record

    def all_records(self) -> list[Record]:
        """One record for each registered claim and source; one that gave none says why."""
        from harness.verdicts.record import Record

        for nodeid, (stated, source) in self.registered.items():
            if nodeid in self.crashed or nodeid not in self.records:
                reason = "the worker crashed" if nodeid in self.crashed else "not run: the session ended before it"
                kept = {name: stated[name] for name in ("id", "statement", "where", "reading", "title", "quantity", "rank")}
                self.records[nodeid] = Record(**kept, source=source, state="INVALID", reason=reason)
        return sorted((self.records[nodeid] for nodeid in self.registered), key=lambda r: (r.source, r.id))


def claim_of(function: object) -> Claim | None:
    """The claim that a test function states, None for other tests."""
    stated = getattr(function, "claim", None)
    return stated if isinstance(stated, Claim) else None


def _parameter(item: pytest.Item, name: str) -> str:
    return str(cast(pytest.Function, item).callspec.params[name])


def source_of(item: pytest.Item) -> str:
    """The source that a collected claim is decided from."""
    return _parameter(item, "source")


def id_of(item: pytest.Item, stated: Claim) -> str:
    """The claim's id, behind the name of the model that it is about."""
    return f"{_parameter(item, 'model')}/{stated.id}" if stated.about == "model" else stated.id


def record_of(report: Any) -> Record | None:
    """The record that a report carries, None for other tests and for a claim that was not decided."""
    for name, text in getattr(report, "user_properties", ()):
        if name == "verdict":
            from harness.verdicts.record import from_row

            return from_row(json.loads(text))
    return None
