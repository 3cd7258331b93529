"""The pytest plugin that decides claims. Its options; the hooks are in `collecting`, `deciding` and `reporting`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.verdicts.session import SESSION, ClaimSession

pytest_plugins = tuple(f"harness.verdicts.{name}" for name in ("collecting", "deciding", "replicates", "reporting"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """--source, --model, --verdicts, --reversals."""
    group = parser.getgroup("claims")
    group.addoption("--source", action="append", metavar="NAME", help="published or a profile; repeatable (default: embedded)")
    group.addoption("--model", action="append", metavar="NAME", help="judge this model, and nothing else; repeatable")
    group.addoption(
        "--claim", action="append", metavar="ID", help="decide this claim and its second measures alone; repeatable"
    )
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
    config.stash[SESSION] = ClaimSession(sources)
    config.pluginmanager.register(config.stash[SESSION], "claims-session")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what workers left."""
    claims = config.stash.get(SESSION, None)
    if claims is not None and claims.folder is not None:
        claims.folder.cleanup()
