"""Efficiency of the parameters' path during fine-tuning (Fig. 11): net displacement over path length."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.artifacts.errors import InvalidInput

# A group of parameters: its block, -1 outside of blocks, and its kind.
Group = tuple[int, str]

_KINDS = {"attn": "attention", "mlp": "fc", "norm1": "norm", "norm2": "norm"}


@dataclass(frozen=True)
class ParameterPath:
    """The path of one group of parameters, in Euclidean norms. net: from the first snapshot to the last. length: the sum of the
    steps between consecutive snapshots. start: the norm at the start. steps: how many.
    """

    net: float
    length: float
    start: float
    steps: int

    @property
    def efficiency(self) -> float:
        """E = net / length, in (0, 1]: 1 for a straight path, near 0 for one that comes back."""
        return self.net / self.length

    @property
    def displacement(self) -> float:
        """net / start: how far the parameters went, as a share of what they were."""
        return self.net / self.start


def group(name: str) -> Group:
    """A ViT parameter's block and kind: attention (qkv and proj), fc, norm, other within a block; (-1, "other") outside."""
    found = re.match(r"blocks\.(\d+)\.(\w+)\.", name)
    return (int(found[1]), _KINDS.get(found[2], "other")) if found else (-1, "other")


class Steps:
    """The paths of all groups, from snapshots that are given one after the other. Two are in memory; sums are in float64."""

    def __init__(self, start: Mapping[str, Tensor]) -> None:
        self._start = {name: value.detach().clone() for name, value in start.items()}
        self._last = self._start
        self._lengths = dict.fromkeys((group(name) for name in start), 0.0)
        self._count = 0

    def add(self, snapshot: Mapping[str, Tensor]) -> None:
        """The next snapshot. Raises InvalidInput for other parameters or shapes, and for one that is not finite."""
        if {name: value.shape for name, value in snapshot.items()} != {name: v.shape for name, v in self._start.items()}:
            strange = sorted(set(snapshot) ^ set(self._start))[:3] or "other shapes"
            raise InvalidInput("path", field=f"snapshot {self._count + 1}", seen=strange, expected="the first one's parameters")
        broken = [name for name, value in snapshot.items() if not torch.isfinite(value).all()]
        if broken:
            raise InvalidInput(
                "path", field=f"snapshot {self._count + 1}", seen=f"NaN or Inf in {broken[0]}", expected="numbers"
            )
        for key, step in _norms(snapshot, self._last).items():
            self._lengths[key] += step
        self._last = {name: value.detach().clone() for name, value in snapshot.items()}
        self._count += 1

    def state(self) -> dict[str, Any]:
        """What a further process needs to go on, beside the start."""
        return {"last": self._last, "lengths": self._lengths, "count": self._count}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._last, self._lengths, self._count = state["last"], state["lengths"], state["count"]

    def paths(self) -> dict[Group, ParameterPath]:
        """The path of each group so far. Raises InvalidInput before the second snapshot, and for a group that never moved."""
        if not self._count:
            raise InvalidInput("path", field="snapshots", seen=1, expected="at least 2")
        net, start = _norms(self._last, self._start), _norms(self._start, {})
        still = [key for key, length in self._lengths.items() if length == 0]
        if still:
            raise InvalidInput(
                "path", field=f"{still[0][1]} of block {still[0][0]}", seen="no step", expected="parameters that move"
            )
        return {key: ParameterPath(net[key], length, start[key], self._count) for key, length in self._lengths.items()}


def _norms(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[Group, float]:
    """Euclidean norm of a - b by group; b counts as zero where it has no such parameter."""
    squares: dict[Group, float] = {}
    for name, value in a.items():
        difference = value.double() - b[name].double() if name in b else value.double()
        key = group(name)
        squares[key] = squares.get(key, 0.0) + float(difference.square().sum())
    return {key: math.sqrt(square) for key, square in squares.items()}
