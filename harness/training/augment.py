"""Batched random views, drawn per image on the images' own device (kornia).

All randomness comes from torch's global generator, so restoring its state restores the views.
"""

from __future__ import annotations

import kornia.augmentation as K
from torch import nn


def _crop(size: int, scale: tuple[float, float]) -> nn.Module:
    return K.RandomResizedCrop((size, size), scale=scale, cropping_mode="resample", resample="bilinear", align_corners=False)


def _blur(size: int, p: float) -> nn.Module:
    # MoCo and DINO blur 224-pixel views with sigma 0.1 to 2; the kernel shrinks with the view.
    kernel = max(3, size // 10 // 2 * 2 + 1)
    return K.RandomGaussianBlur((kernel, kernel), (0.1, 2.0), p=p)


def joint_embedding_view(size: int, scale: tuple[float, float], blur: float, solarize: float) -> nn.Sequential:
    """One view of MoCo-v3 and DINO: crop, flip, colour jitter, grey, blur, solarisation (Tables A2 and A3)."""
    return nn.Sequential(
        _crop(size, scale),
        K.RandomHorizontalFlip(p=0.5),
        K.ColorJiggle(0.4, 0.4, 0.2, 0.1, p=0.8),
        K.RandomGrayscale(p=0.2),
        _blur(size, blur),
        K.RandomSolarize(thresholds=0.0, additions=0.0, p=solarize),
    )


def two_views(size: int, scale: tuple[float, float]) -> nn.ModuleList:
    """The two global views: one always blurred, one seldom and sometimes solarised."""
    return nn.ModuleList(
        [
            joint_embedding_view(size, scale, blur=1.0, solarize=0.0),
            joint_embedding_view(size, scale, blur=0.1, solarize=0.2),
        ]
    )


def reconstruction_view(size: int, scale: tuple[float, float]) -> nn.Sequential:
    """MAE's view: crop and flip (the flip is in the official recipe and missing from Table A1)."""
    return nn.Sequential(_crop(size, scale), K.RandomHorizontalFlip(p=0.5))
