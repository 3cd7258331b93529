"""Interleaved timings in one process, and the peak memory of each entry in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """Something to time. scale: what its time is multiplied by when it does a part of the work; note says which part."""

    name: str
    run: Callable[[], Any]
    scale: float = 1
    note: str = ""


@dataclass(frozen=True)
class Measured:
    """The best of the repeats, scaled: wall and processor seconds (of all threads), and the last run's result."""

    wall: float
    cpu: float
    result: Any


@dataclass(frozen=True)
class Item:
    """Entries on the same inputs, and what to say of them.

    missing: names of absent peers and how to install them. here: whether the entries run in this process, so that its peak
    is theirs.
    """

    title: str
    entries: Sequence[Entry]
    remarks: Callable[[Mapping[str, Measured]], Sequence[str]]
    missing: Mapping[str, str] = field(default_factory=dict)
    here: bool = True


def interleaved(entries: Sequence[Entry], repeats: int) -> dict[str, Measured]:
    """Run all entries in turn, `repeats` times over, so that each meets the same neighbours on the machine."""
    best: dict[str, Measured] = {}
    for _ in range(repeats):
        for entry in entries:
            wall, cpu = time.perf_counter(), time.process_time()
            result = entry.run()
            wall, cpu = (time.perf_counter() - wall) * entry.scale, (time.process_time() - cpu) * entry.scale
            before = best.get(entry.name)
            best[entry.name] = (
                Measured(min(wall, before.wall), min(cpu, before.cpu), result) if before else Measured(wall, cpu, result)
            )
    return best


def peak_here() -> float:
    """The largest resident size of this process so far in MB.

    Not ru_maxrss: a child inherits its parent's.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def peak_of(arguments: Sequence[str], item: str, entry: str) -> float | None:
    """The peak in MB of building an item and running one of its entries once; None when that process fails."""
    command = [sys.executable, "-m", "tests.bench", *arguments, "--peak", item, entry]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def table(item: Item, measured: Mapping[str, Measured], peaks: Mapping[str, float | None]) -> str:
    """One item's part of the table."""
    lines = [item.title, f"  {'':34}{'wall s':>10}{'cpu s':>10}{'peak MB':>9}"]
    for entry in item.entries:
        peak = peaks.get(entry.name)
        size = f"{peak:9.0f}" if peak is not None else f"{'-':>9}"
        one = measured[entry.name]
        lines.append(f"  {entry.name:34}{one.wall:10.3f}{one.cpu:10.3f}{size}  {entry.note}".rstrip())
    lines += [f"  {name:34} not installed: {how}" for name, how in item.missing.items()]
    return "\n".join([*lines, *(f"  -> {remark}" for remark in item.remarks(measured))])
