"""Frozen patch tokens of a vision transformer, of one block or of several, as feature maps for a detector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput

# What a detector reads beside the last block: blocks of a network of twelve, from 0 (Fig. 8); "final+final" is the control, in
# which nothing is added but width.
LAYERS: dict[str, tuple[int, ...]] = {
    "final": (11,),
    "final+9": (11, 9),
    "final+10": (11, 10),
    "final+9+10": (11, 9, 10),
    "final+final": (11, 11),
}


@torch.inference_mode()
def block_tokens(
    network: nn.Module,
    normalise: nn.Module,
    pixels: NDArray[np.uint8],
    blocks: Sequence[int],
    *,
    batch: int,
    device: str = "cpu",
) -> Iterator[list[Tensor]]:
    """Batch by batch of images (n, s, s, 3) uint8, patch tokens of these blocks, each (b, width, h, w) after the final norm.

    blocks: each once, in the order of depth, as timm gives them.
    """
    network.to(device).eval()
    for start in range(0, len(pixels), batch):
        images = torch.from_numpy(pixels[start : start + batch]).to(device).permute(0, 3, 1, 2).float() / 255
        yield network.forward_intermediates(
            normalise(images), indices=list(blocks), norm=True, output_fmt="NCHW", intermediates_only=True
        )


def depth_of(network: nn.Module) -> int:
    """How many blocks a network with patch tokens has. Raises InvalidInput for one without."""
    depth = len(getattr(network, "blocks", ()))
    if not depth or not hasattr(network, "patch_embed"):
        raise InvalidInput(
            "patch tokens", field="network", seen=type(network).__name__, expected="a ViT, which has patch tokens"
        )
    return depth


@torch.inference_mode()
def patch_tokens(
    network: nn.Module, normalise: nn.Module, pixels: NDArray[np.uint8], layers: str, *, batch: int, device: str = "cpu"
) -> Tensor:
    """(n, layers x width, h, w) float16 of images (n, s, s, 3) uint8: patch tokens after the final norm, h and w patches.

    layers: a key of LAYERS; of a network of another depth, the blocks at the same share of it. Position embeddings are
    resampled to the images' size by the network (timm's dynamic_img_size).
    Raises InvalidInput for a network without patch tokens, and for tokens beyond half precision.
    """
    blocks = [round(block * (depth_of(network) - 1) / 11) for block in LAYERS[layers]]
    each = sorted(set(blocks))
    parts = []
    for found in block_tokens(network, normalise, pixels, each, batch=batch, device=device):
        of_block = dict(zip(each, found, strict=True))
        parts.append(torch.cat([of_block[block] for block in blocks], 1).half())
    tokens = torch.cat(parts).cpu()
    if not torch.isfinite(tokens).all():
        raise InvalidInput("detect", field="patch tokens", seen="NaN, Inf or an overflow", expected="numbers within float16")
    return tokens


def resample_positions(network: nn.Module, side: int) -> None:
    """Let a vision transformer take images of this side, in place; one that takes any size does so already."""
    if not getattr(network, "dynamic_img_size", False):
        network.set_input_size(img_size=(side, side))


def patch_side(network: nn.Module) -> int:
    """The side of a patch in pixels."""
    side: int = network.patch_embed.patch_size[0]
    return side
