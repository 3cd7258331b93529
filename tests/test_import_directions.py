"""Imports go one way: claims -> readings -> evidence; verdicts -> evidence; stages -> training, models, data, maths."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from harness.artifacts.closure import ROOT

MODELS = {"harness.artifacts", "harness.params", "harness.data", "harness.maths", "harness.models"}
TRAINING = MODELS | {"harness.training"}
# What the modules of a folder may import of the project.
ALLOWED = {
    "harness/artifacts": {"harness.artifacts"},
    "harness/params": {"harness.artifacts.errors", "harness.artifacts.strict", "harness.params"},
    "harness/maths": {"harness.artifacts", "harness.maths"},
    "harness/data": {"harness.artifacts", "harness.params", "harness.data"},
    "harness/evidence": {"harness.artifacts.errors", "harness.params.models", "harness.evidence"},
    "harness/readings": {"harness.artifacts", "harness.params", "harness.evidence", "harness.readings"},
    "harness/verdicts": {"harness.artifacts", "harness.params.wording", "harness.evidence", "harness.verdicts"},
    "harness/models": MODELS,
    "harness/training": TRAINING,
    "harness/stages": TRAINING | {"harness.stages", "harness.evidence.resampling"},
    "harness/page": {
        "harness.artifacts",
        "harness.params",
        "harness.evidence",
        "harness.readings",
        "harness.verdicts",
        "harness.page",
        "harness.stages.place",
    },
    "claims": {"harness.artifacts", "harness.params", "harness.evidence", "harness.readings", "claims"},
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("folder", ALLOWED)
def test_modules_import_only_what_lies_below_them(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    for path in paths:
        own = {name for name in imported(path) if name.split(".")[0] in ("harness", "claims", "tests")}
        for name in own:
            assert any(f"{name}.".startswith(f"{allowed}.") for allowed in ALLOWED[folder]), f"{path} imports {name}"


@pytest.mark.parametrize(
    "module", ["harness.artifacts.store", "harness.params.load", "harness.stages.compare", "harness.stages.report"]
)
def test_what_must_start_at_once_does_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_folder_of_the_harness_has_a_rule() -> None:
    folders = {f"harness/{p.name}" for p in (ROOT / "harness").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders | {"claims"} == set(ALLOWED)


def test_no_file_is_so_long_that_nobody_reads_it() -> None:
    paths = [*(ROOT / "harness").rglob("*.py"), *(ROOT / "claims").rglob("*.py")]
    assert {str(path.relative_to(ROOT)): n for path in paths if (n := len(path.read_text().splitlines())) > 300} == {}
