"""Errors a user can act on. Each names the file, the field, what was seen, what was expected and the next step.

Exit codes stay clear of pytest's (0 to 5): 12 invalid input, 13 missing artifact, 14 environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class HarnessError(Exception):
    """Base of every error that the command line reports without a traceback."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        # Constructors take keywords, which an exception does not keep: without this it cannot leave a worker process.
        return Exception.__new__, (type(self), *self.args), self.__dict__


class InvalidInput(HarnessError):
    """Something was read that cannot be right: exit 12."""

    exit_code = 12

    def __init__(self, where: object, *, field: str, seen: object, expected: object, next_step: str = "") -> None:
        self.where, self.field, self.seen, self.expected, self.next_step = str(where), field, seen, expected, next_step
        super().__init__(_lines(f"{where}: {field}", f"seen: {seen}", f"expected: {expected}", next_step))


class MissingArtifact(HarnessError):
    """A file that must exist does not: exit 13."""

    exit_code = 13

    def __init__(self, path: Path | str, what: str, *, next_step: str) -> None:
        self.path, self.next_step = str(path), next_step
        super().__init__(_lines(f"{path}: missing", what, "", next_step))


class BadEnvironment(HarnessError):
    """The machine cannot do it (disk, permission, device, memory): exit 14."""

    exit_code = 14

    def __init__(self, where: object, *, seen: object, expected: object, next_step: str = "") -> None:
        super().__init__(_lines(f"{where}", f"seen: {seen}", f"expected: {expected}", next_step))


def _lines(head: str, *details: str) -> str:
    *facts, next_step = details
    tail = [f"next: {next_step}"] if next_step else []
    return "\n  ".join([head, *(fact for fact in facts if fact), *tail])
