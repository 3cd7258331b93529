"""Networks of timm: what is read of each is what timm hands on, or the network is refused before any image goes through it."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import timm
import torch

from harness.artifacts.errors import InvalidInput
from harness.data.images import Images
from harness.models.build import normaliser
from harness.models.represent import Representation, represent

# How a network is made small; the first that it takes.
SMALL: list[dict[str, Any]] = [
    {"img_size": 64, "embed_dim": 24, "depth": 2, "num_heads": 2},
    {"img_size": 64, "embed_dim": 64, "depth": 2, "num_heads": 2},
    {"embed_dim": 24, "depth": 2, "num_heads": 2},
    {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]},
    {"layers": [1, 1, 1, 1]},
    {},
]
CLS, POOLED = ("cls", "gap"), ("gap",)
# A network of each kind, and the tokens that it is read by; or what the refusal says.
KINDS: dict[str, tuple[str, ...] | str] = {
    "vit_tiny_patch16_224": CLS,
    "vit_small_patch14_dinov2": CLS,
    "vit_small_patch14_reg4_dinov2": CLS,
    "vit_base_patch16_clip_224": CLS,
    "vit_base_patch16_radio_v3": CLS,
    "vit_base_r26_s32_224": CLS,
    "flexivit_small": CLS,
    "deit_tiny_distilled_patch16_224": CLS,
    "deit3_small_patch16_224": CLS,
    "vit_relpos_base_patch16_cls_224": CLS,
    "vit_medium_patch16_gap_256": POOLED,
    "vit_medium_patch16_reg4_gap_256": POOLED,
    "vit_base_patch16_siglip_224": POOLED,
    "vit_relpos_small_patch16_224": POOLED,
    "beit3_base_patch16_224": POOLED,
    "naflexvit_base_patch16_gap": POOLED,
    "resnet18": POOLED,
    "resnet50d": POOLED,
    "seresnet50": POOLED,
    "ecaresnet26t": POOLED,
    "convnext_atto": POOLED,
    "convnextv2_atto": POOLED,
    "beit_base_patch16_224": "never called",
    "eva02_tiny_patch14_224": "layer",
    "aimv2_1b_patch14_224": "a module mlp.fc1",
    "vit_base_patch16_18x2_224": "a module norm1",
    "vit_base_patch16_xp_224": "a module norm1",
    "cait_xxs24_224": "CLS token joins after these blocks",
    "xcit_nano_12_p16_224": "CLS token joins after these blocks",
    "samvit_base_patch16": "a ViT, a ResNet or a ConvNeXt",
    "resnetv2_18": "a ViT, a ResNet or a ConvNeXt",
    "swin_tiny_patch4_window7_224": "network",
    "efficientnet_b0": "a ViT, a ResNet or a ConvNeXt",
}
MODULES = ["vision_transformer", "deit", "beit", "cait", "xcit", "vision_transformer_relpos", "naflexvit", "resnet", "convnext"]


def network(name: str) -> torch.nn.Module:
    for options in SMALL:
        torch.manual_seed(0)
        try:
            made: torch.nn.Module = timm.create_model(name, num_classes=0, **options).eval()
        except (TypeError, ValueError, AssertionError, RuntimeError):
            continue
        return made
    raise AssertionError(f"{name} was not built")


def measured(of: torch.nn.Module) -> tuple[Representation, torch.Tensor]:
    """What is read of four images, and what timm hands to a head."""
    size = int((getattr(getattr(of, "patch_embed", None), "img_size", None) or (64,))[0])
    pixels = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)
    normalise = normaliser((0.5,) * 3, (0.25,) * 3)
    (seen,) = represent(of, normalise, Images(np.zeros(4, np.int64), 1, lambda index: pixels[index]), 4, minibatch=4)
    with torch.inference_mode():
        output = of.forward_features(normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255))
        return seen, of.forward_head(output, pre_logits=True)


def hold(of: torch.nn.Module) -> tuple[str, ...]:
    seen, handed_on = measured(of)
    read = torch.from_numpy(seen.layout.final(seen.features).astype(np.float32))
    assert read.shape == handed_on.shape
    # Features are kept in half precision, whose smallest steps are 6e-8.
    torch.testing.assert_close(read, handed_on, rtol=2e-3, atol=1e-7)
    return seen.layout.tokens


@pytest.mark.parametrize("name", KINDS)
def test_a_network_is_read_as_timm_hands_it_on_or_refused(name: str) -> None:
    expected, of = KINDS[name], network(name)
    if isinstance(expected, str):
        with pytest.raises(InvalidInput, match=expected):
            measured(of)
    else:
        assert hold(of) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for module in MODULES for name in timm.list_models(module=module)])
def test_every_network_is_read_as_timm_hands_it_on_or_refused(name: str) -> None:
    of = network(name)
    if sum(p.numel() for p in of.parameters()) > 3e7:
        pytest.skip("too large for a test, and of a kind with smaller ones")
    # What is refused is refused by name; any other error fails.
    with contextlib.suppress(InvalidInput):
        hold(of)
