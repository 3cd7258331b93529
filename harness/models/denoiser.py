"""The network of a diffusion model of small images: a U-Net whose normalisation is conditioned on time and a representation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput

# Of the conditioning vector, of the sinusoids of time, and of the layer that sees the whole image.
CONDITION, SINUSOIDS, WHOLE = 128, 64, 256


class Condition(nn.Module):
    """What the U-Net is told of a representation: (n, width) features and (n,) noise levels to (n, CONDITION).

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
    """(n, 3, s, s) noisy images, (n,) times in [0, 1] and (n, CONDITION) conditions to (n, 3, s, s) predictions.

    Pixels of a 2 x 2 patch are channels of the first resolution, of which there are two. A layer at the second sees the whole
    image, so that a place can be told as such; its size grows with the image's area.
    Raises InvalidInput for a size that is no multiple of four.
    """

    def __init__(self, size: int, channels: int) -> None:
        """size: of the images, in pixels. channels: at the first resolution; a multiple of eight."""
        super().__init__()
        if size % 4:
            raise InvalidInput("denoiser", field="size", seen=size, expected="a multiple of 4")
        c = channels
        self.time = nn.Sequential(nn.Linear(SINUSOIDS, CONDITION), nn.SiLU(), nn.Linear(CONDITION, CONDITION))
        self.condition = nn.Sequential(nn.SiLU(), nn.Linear(CONDITION, CONDITION), nn.SiLU())
        self.enter = nn.Conv2d(12, c, 3, padding=1)
        self.first = _Block(c, c)
        self.down = nn.Conv2d(c, 2 * c, 3, stride=2, padding=1)
        self.second = _Block(2 * c, 2 * c)
        self.middle = _Block(2 * c, 2 * c)
        pixels = 2 * c * (size // 4) ** 2
        self.whole, self.conditioned, self.back = (
            nn.Linear(pixels, WHOLE),
            nn.Linear(CONDITION, WHOLE),
            nn.Linear(WHOLE, pixels),
        )
        self.third = _Block(4 * c, 2 * c)
        self.up = nn.ConvTranspose2d(2 * c, c, 2, stride=2)
        self.fourth = _Block(2 * c, c)
        self.leave = nn.Conv2d(c, 12, 3, padding=1)

    def forward(self, images: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """As the class says."""
        frequencies = torch.exp(torch.linspace(0, math.log(1000), SINUSOIDS // 2, device=images.device))
        angles = time[:, None] * frequencies
        told = self.condition(self.time(torch.cat([angles.sin(), angles.cos()], 1)) + condition)
        fine = self.first(self.enter(F.pixel_unshuffle(images, 2)), told)
        coarse = self.second(self.down(fine), told)
        middle = self.middle(coarse, told)
        whole = F.silu(self.whole(middle.flatten(1)) + self.conditioned(told))
        middle = middle + self.back(whole).view_as(middle)
        up = self.up(self.third(torch.cat([middle, coarse], 1), told))
        return F.pixel_shuffle(self.leave(self.fourth(torch.cat([up, fine], 1), told)), 2)


class _Block(nn.Module):
    """A residual block whose second normalisation is scaled and shifted by the condition."""

    def __init__(self, given: int, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, given), nn.GroupNorm(8, channels)
        self.conv1, self.conv2 = nn.Conv2d(given, channels, 3, padding=1), nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(CONDITION, 2 * channels)
        self.skip = nn.Conv2d(given, channels, 1) if given != channels else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.modulation(told)[:, :, None, None].chunk(2, 1)
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        out: Tensor = self.skip(x) + self.conv2(F.silu(h * (1 + scale) + shift))
        return out
