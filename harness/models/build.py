"""Networks by timm, and their initialisation as each pre-training method prescribes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from kornia.enhance import Normalize
from lightly.models.modules import MaskedVisionTransformerTIMM
from torch import nn

from harness.artifacts.errors import InvalidInput


def build(name: str, *, seed: int = 0, positions: str | None = None, **kwargs: Any) -> nn.Module:
    """A timm backbone without classifier, in evaluation mode, its random weights drawn from the seed.

    name, kwargs: as for timm.create_model, e.g. "vit_base_patch16_224".
    positions: how a ViT starts: "sincos" (fixed 2-D sine-cosine, Xavier-uniform projections: MAE and MoCo-v3) or
    None and "learned" (timm's own initialisation: DINO).
    Raises InvalidInput with the nearest names for a network that timm does not know.
    """
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:5]
        raise InvalidInput("params.yaml", field="architectures.*.name", seen=name, expected=f"a timm model, such as {near}")
    if positions not in (None, "sincos", "learned"):
        raise InvalidInput("params.yaml", field="positions", seen=positions, expected="sincos or learned")
    torch.manual_seed(seed)
    network = timm.create_model(name, pretrained=False, num_classes=0, **kwargs).eval()
    if positions == "sincos":
        MaskedVisionTransformerTIMM(vit=network, pos_embed_initialization="sincos")
    return network


def normaliser(mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """Pixels in [0, 1], (n, 3, s, s), to a network's input: mean and std by colour channel."""
    return Normalize(torch.tensor(mean), torch.tensor(std))
