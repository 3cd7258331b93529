"""SIGKILL in the middle of each stage: nothing torn, and a second run ends as an undisturbed one does."""

from __future__ import annotations

import importlib
import itertools
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.stages import extract, weights
from harness.stages.place import Place
from tests.forked import forked

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


def arm(module: str, name: str, at: int) -> None:
    """Let the n-th call of a function kill the process."""
    holder, calls = importlib.import_module(module), itertools.count(1)
    *path, last = name.split(".")
    for part in path:
        holder = getattr(holder, part)
    real = getattr(holder, last)

    def armed(*arguments: Any, **options: Any) -> Any:
        if next(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(holder, last, armed)


@pytest.mark.parametrize("case", CASES)
def test_a_killed_stage_leaves_nothing_torn_and_its_rerun_is_byte_equal(tiny: Place, case: str) -> None:
    arguments, module, name, at, made = CASES[case]
    for model in ("one", "two"):
        weights.run(tiny, model)
        extract.run(tiny, model)
    path = Path("artifacts/tiny") / f"{made}.safetensors"
    path.unlink(missing_ok=True)

    def run(at: int) -> int:
        """Run the stage in a process that is killed at the n-th call of the function; return how it ended."""

        def work() -> int:
            arm(module, name, at)
            return main(arguments)

        return forked(work)

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
