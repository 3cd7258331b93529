"""Batched random views, drawn per image on the images' own device (kornia).

All randomness comes from torch's global generator, so restoring its state restores the views.
"""

from __future__ import annotations

from collections.abc import Callable

import kornia.augmentation as K
import torch
from torch import nn


def _crop(size: int, scale: tuple[float, float]) -> nn.Module:
    return K.RandomResizedCrop((size, size), scale=scale, cropping_mode="resample", resample="bilinear", align_corners=False)


def _blur(size: int, p: float) -> nn.Module:
    """MoCo's and DINO's blur of 224-pixel views, sigma 0.1 to 2, which shrinks with the view."""
    widest = 2 * size / 224
    if widest < 1 / 3:  # Neighbours would weigh e^-4.5, a hundredth: nothing to blur in a view that small.
        return nn.Identity()
    kernel = max(3, size // 10 // 2 * 2 + 1)
    return K.RandomGaussianBlur((kernel, kernel), (widest / 20, widest), p=p)


def joint_embedding_view(
    size: int, scale: tuple[float, float], blur: float, solarize: float, photometric: float = 1.0, flip: float = 0.5
) -> nn.Sequential:
    """One view of MoCo-v3 and DINO: crop, flip, colour jitter, grey, blur, solarisation (Tables A2 and A3).

    photometric: the share in [0, 1] of the jitter's width and of the other changes' probabilities; 0 crops and flips alone.
    flip: the probability of a horizontal flip.
    """
    p = photometric
    geometric = (_crop(size, scale), K.RandomHorizontalFlip(p=flip))
    if p == 0:
        return nn.Sequential(*geometric)
    return nn.Sequential(
        *geometric,
        K.ColorJitter(0.4 * p, 0.4 * p, 0.2 * p, 0.1 * p, p=0.8),
        K.RandomGrayscale(p=0.2 * p),
        _blur(size, blur * p),
        K.RandomSolarize(thresholds=0.0, additions=0.0, p=solarize * p),
    )


def two_views(size: int, scale: tuple[float, float], photometric: float = 1.0, flip: float = 0.5) -> nn.ModuleList:
    """The two global views: one always blurred, one seldom and sometimes solarised."""
    return nn.ModuleList(
        [
            joint_embedding_view(size, scale, 1.0, 0.0, photometric, flip),
            joint_embedding_view(size, scale, 0.1, 0.2, photometric, flip),
        ]
    )


class GrowingViews:
    """Views whose photometric changes grow over epochs. They are built anew where the share changes; no state contains them.

    build: a share in [0, 1] to the views.
    """

    def __init__(self, build: Callable[[float], nn.ModuleList]) -> None:
        self.build = build
        self.share: float | None = None
        self.views = nn.ModuleList()

    def at(self, share: float, device: torch.device) -> nn.ModuleList:
        """The views with this share of photometric changes."""
        if share != self.share:
            self.share, self.views = share, self.build(share).to(device)
        return self.views


def reconstruction_view(size: int, scale: tuple[float, float]) -> nn.Sequential:
    """MAE's view: crop and flip (the flip is in the official recipe and missing from Table A1)."""
    return nn.Sequential(_crop(size, scale), K.RandomHorizontalFlip(p=0.5))
