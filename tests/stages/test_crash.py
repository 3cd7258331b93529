"""SIGKILL in the middle of each stage: nothing torn, and a second run ends as an undisturbed one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.stages import extract, weights
from harness.stages.place import Place

# Runs a stage after arming one function to kill the process at its n-th call.
KILLER = """
import importlib, os, signal, sys
module, name, at, *arguments = sys.argv[1:]
holder, calls = importlib.import_module(module), [0]
*path, last = name.split(".")
for part in path:
    holder = getattr(holder, part)
real = getattr(holder, last)
def armed(*a, **k):
    calls[0] += 1
    if calls[0] == int(at):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*a, **k)
setattr(holder, last, armed)
from harness.__main__ import main
sys.exit(main(arguments))
"""

CASES = {
    "weights, in its second epoch": (
        ["weights", "--model", "taught"],
        "harness.training.engine",
        "_step",
        6,
        "checkpoints/taught",
    ),
    "weights, while writing": (
        ["weights", "--model", "taught"],
        "harness.artifacts.store",
        "ArrayWriter.append",
        9,
        "checkpoints/taught",
    ),
    "extract": (["extract", "--model", "one"], "harness.artifacts.store", "ArrayWriter.append", 5, "banks/one"),
    "extract, at the end": (["extract", "--model", "one"], "os", "replace", 1, "banks/one"),
    "compare": (["compare", "--model", "two"], "os", "replace", 2, "similarity/two"),
    "knn": (["knn", "--model", "one"], "harness.artifacts.store", "ArrayWriter.append", 2, "knn/one"),
    "pixels": (["pixels"], "os", "fsync", 1, "pixels"),
    "sweep": (["sweep"], "harness.artifacts.store", "ArrayWriter.append", 3, "sweep"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_killed_stage_leaves_nothing_torn_and_its_rerun_is_byte_equal(tiny: Place, case: str) -> None:
    arguments, module, name, at, made = CASES[case]
    for model in ("one", "two"):
        weights.run(tiny, model)
        extract.run(tiny, model)
    path = Path("artifacts/tiny") / f"{made}.safetensors"
    path.unlink(missing_ok=True)

    def run(at: int) -> int:
        command = [sys.executable, "-c", KILLER, module, name, str(at), *arguments]
        return subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, check=False).returncode

    assert run(at) == -signal.SIGKILL
    assert not path.exists()
    assert run(10**9) == 0
    resumed = path.read_bytes()
    path.unlink()
    if ".scratch" in os.listdir():
        for state in Path(".scratch").rglob("state.pt"):
            state.unlink()
    assert run(10**9) == 0
    assert path.read_bytes() == resumed
    assert not [p for p in path.parent.iterdir() if p.name.endswith(".tmp")]
