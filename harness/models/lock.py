"""weights.lock: the SHA-256 of each address at its first download, committed and compared with every later download."""

from __future__ import annotations

import json
import re
from pathlib import Path

from harness.artifacts import files
from harness.artifacts.errors import InvalidInput
from harness.params.images import Download

LOCK = Path("weights.lock")


def known() -> dict[str, str]:
    """SHA-256 by address; empty before the first fetch. Raises InvalidInput for a file that is not such a table."""
    if not LOCK.is_file():
        return {}
    try:
        table = json.loads(LOCK.read_bytes())
    except ValueError as error:
        raise InvalidInput(LOCK, field="JSON", seen=error, expected="addresses and SHA-256", next_step=RESTORE) from error
    if not isinstance(table, dict):
        raise InvalidInput(LOCK, field="table", seen=type(table).__name__, expected="an object", next_step=RESTORE)
    for url, sha in table.items():
        if not isinstance(sha, str) or not re.fullmatch("[0-9a-f]{64}", sha):
            raise InvalidInput(LOCK, field=url, seen=sha, expected="64 hexadecimal digits", next_step=RESTORE)
    return table


def expected(file: Download) -> tuple[str, str]:
    """The SHA-256 that a published file must have, "" where none is known, and where that is said: params.yaml or the lock."""
    if file.sha256 or not file.url:
        return file.sha256, "params.yaml"
    return known().get(file.url, ""), str(LOCK)


def add(url: str, sha256: str) -> None:
    """Keep what an address had at first sight. Raises InvalidInput when it is known to have had something else."""
    table = known()
    if table.setdefault(url, sha256) != sha256:
        raise InvalidInput(LOCK, field=url, seen=sha256, expected=table[url])
    files.write_bytes(LOCK, (json.dumps(table, indent=1, sort_keys=True) + "\n").encode())


RESTORE = "restore it from version control: git checkout weights.lock"
