"""What `pytest claims` costs: to collect, and to decide."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.bench.measure import Entry, Item, Measured

RUN = """
import sys
import pytest
code = pytest.main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("torch" in sys.modules, int(code), int(peak.split()[1]) / 1024)
"""
START, ALL = "pytest claims --collect-only", "pytest claims"


def item() -> Item:
    """Each in a process of its own; the peak is that process's, printed as a remark."""
    there = Path("claims").is_dir()
    entries = [Entry(START, lambda: _run("--collect-only")), Entry(ALL, _run)] if there else []

    def remarks(measured: Mapping[str, Measured]) -> list[str]:
        lines = [] if there else ["not there yet"]
        for name, one in measured.items():
            torch, code, peak, last = one.result
            lines.append(f"{name}: exit {code}, peak {peak} MB, torch imported: {torch}; {last}")
        return lines

    return Item("The claims", entries, remarks, here=False)


def _run(*options: str) -> tuple[str, str, str, str]:
    command = [sys.executable, "-c", RUN, "claims", "-q", "-p", "no:cacheprovider", *options]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip().splitlines()
    torch, code, peak = lines[-1].split()
    said = [line for line in lines[:-1] if line.strip()]
    return torch, code, f"{float(peak):.0f}", said[-1].strip("= ") if said else "nothing printed"
