"""The network of a diffusion model of vectors: residual blocks that are conditioned on time and a representation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of the conditioning vector, and of the sinusoids of time.
CONDITION, SINUSOIDS = 256, 64


class Condition(nn.Module):
    """What the denoiser is told of a representation: (n, width) features and (n,) noise levels to (n, CONDITION).

    Each model has a first layer of its own, since their features mean different things; all else is shared.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """widths: of the features of each model."""
        super().__init__()
        self.first = nn.ModuleList(nn.Linear(width + 1, CONDITION) for width in widths)

    def forward(self, features: Tensor, level: Tensor, model: int) -> Tensor:
        """model: index into the widths. level: standard deviation of the noise that was added to the features."""
        given: Tensor = self.first[model](torch.cat([features, level[:, None]], 1))
        return given


class Denoiser(nn.Module):
    """(n, d) noisy vectors, (n,) times in [0, 1] and (n, CONDITION) conditions to (n, d) predictions."""

    def __init__(self, size: int, width: int, depth: int) -> None:
        """size: of the vectors, d. width, depth: of the blocks, and how many there are."""
        super().__init__()
        self.time = nn.Sequential(nn.Linear(SINUSOIDS, CONDITION), nn.SiLU(), nn.Linear(CONDITION, CONDITION))
        self.condition = nn.Sequential(nn.SiLU(), nn.Linear(CONDITION, CONDITION), nn.SiLU())
        self.enter = nn.Linear(size, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.leave = nn.Linear(width, size)
        nn.init.zeros_(self.leave.weight)

    def forward(self, vectors: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """As the class says."""
        frequencies = torch.exp(torch.linspace(0, math.log(1000), SINUSOIDS // 2, device=vectors.device))
        angles = time[:, None] * frequencies
        told = self.condition(self.time(torch.cat([angles.sin(), angles.cos()], 1)) + condition)
        found = self.enter(vectors)
        for block in self.blocks:
            found = block(found, told)
        out: Tensor = self.leave(F.layer_norm(found, found.shape[1:]))
        return out


class _Block(nn.Module):
    """A residual block whose normalisation is scaled and shifted, and whose result is scaled, by the condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(CONDITION, 3 * width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift, gate = self.modulation(told).chunk(3, 1)
        out: Tensor = x + (1 + gate) * self.layers(F.layer_norm(x, x.shape[1:]) * (1 + scale) + shift)
        return out
