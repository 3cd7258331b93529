"""Diff: which claims changed state between two verdict files, with what both read."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.verdicts.record import Record, parse, read

# Where `make verify` writes the verdicts, which are committed with the artifacts that they rest on.
VERDICTS = "artifacts/verdicts.json"


def compare(before: list[Record], after: list[Record]) -> list[str]:
    """A line for each claim that changed state, came or went, in the order of `after`, those that went last."""
    old, new = ({(record.source, record.id): record for record in records} for records in (before, after))
    lines = []
    for key in [*new, *(key for key in old if key not in new)]:
        states = [records[key].state if key in records else "not there" for records in (old, new)]
        if states[0] != states[1]:
            was, now = (_read(records.get(key)) for records in (old, new))
            lines.append(f"{key[1]} ({key[0]}): {was} -> {now}")
    return lines


def records_of(name: str) -> list[Record]:
    """The verdicts of a file, or of a git revision, which has them in artifacts/verdicts.json.

    Raises MissingArtifact for what is neither, and for a revision without verdicts.
    """
    if Path(name).is_file() or name.endswith(".json"):
        return read(Path(name))
    # A name that looks like an option would be taken for one.
    shown = subprocess.run(["git", "show", "--end-of-options", f"{name}:{VERDICTS}"], capture_output=True, check=False)
    if shown.returncode:
        reason = shown.stderr.decode(errors="replace").strip().splitlines() or ["git show failed"]
        step = "name a verdict file, or a revision whose commit has one (make verify writes it)"
        raise MissingArtifact(name, f"neither a verdict file nor a revision with one: {reason[0]}", next_step=step)
    return parse(shown.stdout, f"{name}:{VERDICTS}")


def run(before: str, after: str) -> int:
    """Print what changed; 1 if something did, 0 if nothing. Raises InvalidInput for two records of one claim."""
    both = [records_of(name) for name in (before, after)]
    for name, records in zip((before, after), both, strict=True):
        keys = [(record.source, record.id) for record in records]
        if len(set(keys)) < len(keys):
            twice = sorted({f"{key[1]} ({key[0]})" for key in keys if keys.count(key) > 1})
            raise InvalidInput(name, field="records", seen=", ".join(twice), expected="one record of each claim and source")
    lines = compare(*both)
    for line in lines:
        print(line)
    print(f"{len(lines)} of {len(both[1])} claims changed state")
    return int(bool(lines))


def _read(record: Record | None) -> str:
    if record is None:
        return "not there"
    if record.estimate is None:
        return record.state
    within = "" if record.interval is None else " [{:.3g}, {:.3g}]".format(*record.interval)
    return f"{record.state} {record.estimate:.3g}{within}"
