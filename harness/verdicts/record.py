"""The verdict file: one record for each claim and source, in one order, whoever wrote it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.files import write_bytes


@dataclass(frozen=True)
class Record:
    """What was decided of one claim from one source.

    estimate, interval, margin: in the unit of the estimate; n, unit: what was resampled. Of UNCALIBRATED they are the
    first run's and decide nothing; None where nothing was measured.
    title: the statement in at most 40 characters. rank: main, detail, or second for a second measure of a claim. quantity:
    what estimate, interval and margin are measured in. direction: the side of the margin on which the claim puts the estimate:
    above, below, or within. doubt: of INCONCLUSIVE the cause in a few words.
    provisional: a verdict about methods from fewer than three pre-training runs. instrument: what the profile's measures
    can tell, for claims about methods. provenance: artifacts read, by path with
    their SHA-256, the number of pre-training replicates, and the models that have other than twelve blocks.
    """

    id: str
    source: str
    state: str
    statement: str
    where: str
    reading: str
    reason: str
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    margin: float | None = None
    n: int | None = None
    unit: str | None = None
    provisional: bool = False
    instrument: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    rank: str = "detail"
    quantity: str = ""
    direction: str | None = None
    doubt: str = ""


_COLUMNS = (
    *(
        "id",
        "source",
        "rank",
        "state",
        "provisional",
        "estimate",
        "low",
        "high",
        "direction",
        "margin",
        "quantity",
        "n",
        "unit",
    ),
    *("where", "title", "statement", "reading", "doubt", "reason"),
)


def write(path: Path, records: Iterable[Record]) -> None:
    """Write the records as JSON, sorted by source and id, whole or not at all; as a table where the path ends in .csv.

    Numbers have ten significant digits: further ones differ with the number of threads. The table has no provenance and no
    instrument, and is not read back.
    """
    rows = [_row(record) for record in sorted(records, key=lambda r: (r.source, r.id))]
    if path.suffix == ".csv":
        out = io.StringIO()
        table = csv.DictWriter(out, _COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(row | dict(zip(("low", "high"), row["interval"] or (None, None), strict=True)) for row in rows)
        write_bytes(path, out.getvalue().encode())
        return
    write_bytes(path, (json.dumps(rows, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def _row(record: Record) -> dict[str, Any]:
    row = asdict(record)
    for name in ("estimate", "margin"):
        row[name] = None if row[name] is None else _rounded(row[name])
    return row | {"interval": record.interval and tuple(map(_rounded, record.interval))}


def _rounded(value: float) -> float:
    return float(f"{value:.10g}")


def read(path: Path) -> list[Record]:
    """Read a verdict file. Raises MissingArtifact, and InvalidInput when it is none."""
    if not path.is_file():
        raise MissingArtifact(path, "no verdicts", next_step=f"pytest claims --verdicts {path}")
    return parse(path.read_bytes(), str(path))


def from_row(row: dict[str, Any]) -> Record:
    """A record as JSON gives it back, with lists where tuples were."""
    return Record(**(row | {"interval": row["interval"] and tuple(row["interval"])}))


def parse(content: bytes, where: str) -> list[Record]:
    """The records of a verdict file's content. Raises InvalidInput when it is none."""
    try:
        return [from_row(row) for row in json.loads(content)]
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInput(where, field="file", seen=error, expected="a list of verdict records") from error
