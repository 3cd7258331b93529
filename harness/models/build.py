"""Networks of timm, initialised as each pre-training method prescribes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import timm
import torch
from kornia.enhance import Normalize
from lightly.models.modules import MaskedVisionTransformerTIMM
from torch import nn

from harness.artifacts.errors import InvalidInput
from harness.params.images import ReaderData, ScenesData
from harness.params.models import Released, Weights


def build(name: str, *, seed: int = 0, positions: str | None = None, **kwargs: Any) -> nn.Module:
    """A timm backbone without classifier, in evaluation mode, its random weights drawn from the seed.

    name, kwargs: as for timm.create_model, e.g. "vit_base_patch16_224".
    positions: how a ViT that will be trained starts: "sincos" (fixed 2-D sine-cosine: MAE and MoCo-v3) or "learned" (DINO),
    both with Xavier-uniform projections, whose scale fits any width; None leaves timm's initialisation.
    torch's generator is seeded and goes on from there: what is drawn next depends on the seed too.
    Raises InvalidInput with the nearest names for a network that timm does not know, and for options or positions that do not
    go with it.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        expected = f"{' or '.join(near)}?" if near else "one of timm.list_models()"
        raise InvalidInput("params.yaml", field="architectures.*.name", seen=name, expected=expected)
    if positions not in (None, "sincos", "learned"):
        raise InvalidInput("params.yaml", field="positions", seen=positions, expected="sincos or learned")
    torch.manual_seed(seed)
    try:
        network = timm.create_model(name, pretrained=False, num_classes=0, **kwargs).eval()
        if positions is not None:
            MaskedVisionTransformerTIMM(vit=network, pos_embed_initialization="sincos" if positions == "sincos" else "learn")
    # timm and lightly tell a wrong option, and a network that has no positions, by whatever fails first.
    except (TypeError, ValueError, AssertionError, AttributeError, RuntimeError, ArithmeticError) as error:
        seen = f"{kwargs}, positions {positions}: {type(error).__name__} {error}"
        raise InvalidInput("params.yaml", field="architectures.*.options", seen=seen, expected=f"what {name} takes") from error
    return network


Channels = tuple[float, float, float]


def normalisation(weights: Weights, data: ScenesData | ReaderData) -> tuple[Channels, Channels]:
    """Mean and std by colour channel that a model was trained with: timm's for weights of timm, else those that the data has.

    Raises InvalidInput for weights that timm does not know.
    """
    if not isinstance(weights, Released) or not weights.timm:
        return data.mean, data.std
    try:
        known = timm.get_pretrained_cfg(weights.timm)
    except RuntimeError as error:
        near = difflib.get_close_matches(weights.timm, timm.list_models(pretrained=True), n=3)
        expected = f"{' or '.join(near)}?" if near else "one of timm.list_models(pretrained=True)"
        raise InvalidInput("params.yaml", field="weights: timm", seen=weights.timm, expected=expected) from error
    return known.mean, known.std


def normaliser(mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """Pixels in [0, 1], (n, 3, s, s), to a network's input: mean and std by colour channel."""
    return Normalize(torch.tensor(mean), torch.tensor(std))
