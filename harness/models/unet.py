"""The network of a diffusion model of photographs: ADM's U-Net (Dhariwal and Nichol, 2021), conditioned on a representation."""

from __future__ import annotations

import math

from diffusers import UNet2DModel
from torch import Tensor, nn

from harness.models.denoiser import CONDITION

# Of the diffusion's time, as the U-Net counts it.
TIMES = 1000
# Sides, in pixels, at which the U-Net attends to all positions.
ATTENDED = 32


class UNet(nn.Module):
    """(n, d) noisy photographs, (n,) times in [0, 1] and (n, CONDITION) conditions to (n, d) predictions.

    d = side x side x 3. The condition is added to the embedded time, which scales and shifts each group normalisation (RCDM).
    """

    def __init__(self, side: int, width: int, depth: int) -> None:
        """side: of the photographs, in pixels, a multiple of 2 ** (depth - 1). width: channels of the first of depth levels.

        Each level has one width more than the one before it. Of more than four levels the first ones have one width, so that
        the last has four, as ADM's at 64 and 128 pixels.
        """
        super().__init__()
        self.side = side
        channels = [width * max(1, level + 1 - max(0, depth - 4)) for level in range(depth)]
        attends = [side // 2**level <= ATTENDED for level in range(depth)]
        self.condition = nn.Sequential(nn.SiLU(), nn.Linear(CONDITION, 4 * width))
        self.net = UNet2DModel(
            sample_size=side,
            in_channels=3,
            out_channels=3,
            block_out_channels=channels,
            down_block_types=["AttnDownBlock2D" if one else "DownBlock2D" for one in attends],
            up_block_types=["AttnUpBlock2D" if one else "UpBlock2D" for one in reversed(attends)],
            norm_num_groups=math.gcd(width, 32),
            attention_head_dim=min(width, 64),
            class_embed_type="identity",
            resnet_time_scale_shift="scale_shift",
        )

    def forward(self, vectors: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """As the class says."""
        planes = vectors.view(len(vectors), self.side, self.side, 3).permute(0, 3, 1, 2)
        found: Tensor = self.net(planes, time * TIMES, class_labels=self.condition(condition)).sample
        return found.permute(0, 2, 3, 1).reshape(vectors.shape)
