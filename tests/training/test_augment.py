"""The views: torchvision's jitter, which the official recipes use, and a blur that fits the view's size."""

import kornia.augmentation as K
import pytest
import torch
import torchvision.transforms.functional as F
from torch import nn

from harness.training import augment

STEPS = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


def view(size: int) -> nn.Sequential:
    return augment.joint_embedding_view(size, (0.5, 1.0), blur=1.0, solarize=0.2)


def of(kind: type[nn.Module], steps: nn.Sequential) -> list[nn.Module]:
    return [step for step in steps if isinstance(step, kind)]


def test_the_jitter_is_torchvisions():
    """Brightness is multiplied and contrast stretched about the mean grey: an added offset would saturate what is bright."""
    torch.manual_seed(0)
    (jitter,) = of(K.ColorJitter, view(16))
    images = torch.rand(32, 3, 16, 16)
    seen, drawn = jitter(images), jitter._params
    factors = [drawn[f"{name}_factor"] for name in ("brightness", "contrast", "saturation", "hue")]
    jittered = drawn["batch_prob"].bool()
    assert 0 < jittered.sum() < 32
    for i, (image, result) in enumerate(zip(images, seen, strict=True)):
        for step in drawn["order"].tolist() if jittered[i] else ():
            image = STEPS[step](image, factors[step][i].item())
        assert torch.allclose(image, result, atol=2e-3)


@pytest.mark.parametrize("size", [224, 96])
def test_the_blur_shrinks_with_the_view(size):
    (blur,) = of(K.RandomGaussianBlur, view(size))
    spot = torch.zeros(64, 3, size, size)
    spot[:, :, size // 2, size // 2] = 1
    torch.manual_seed(0)
    peak = blur(spot).amax((1, 2, 3))
    # A Gaussian of standard deviation s has the peak 1 / (2 pi s^2).
    widest = 2 * size / 224
    assert peak.min() == pytest.approx(1 / (2 * torch.pi * widest**2), rel=0.15)
    assert peak.max() > 0.9


def test_a_view_of_a_few_pixels_is_not_blurred():
    assert not of(K.RandomGaussianBlur, view(16))


def test_the_photometric_share_narrows_the_jitter_and_the_odds():
    half = augment.joint_embedding_view(224, (0.5, 1.0), blur=1.0, solarize=0.2, photometric=0.5)
    (jitter,) = of(K.ColorJitter, half)
    assert [jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue] == [0.2, 0.2, 0.1, 0.05]
    odds = {kind: of(kind, half)[0].p for kind in (K.RandomGrayscale, K.RandomGaussianBlur, K.RandomSolarize)}
    assert odds == {K.RandomGrayscale: 0.1, K.RandomGaussianBlur: 0.5, K.RandomSolarize: 0.1}
    assert [type(step) for step in augment.joint_embedding_view(16, (0.5, 1.0), 1.0, 0.2, 0.0)] == [
        K.RandomResizedCrop,
        K.RandomHorizontalFlip,
    ]
