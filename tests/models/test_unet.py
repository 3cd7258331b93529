"""The U-Net of photographs: shapes, what its condition does, its levels, and its size beside that of ADM."""

from __future__ import annotations

import pytest
import torch

from harness.models.denoiser import CONDITION
from harness.models.unet import UNet

SIDE = 8


@pytest.fixture(scope="module")
def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(SIDE, 8, 2).eval()


def test_its_predictions_are_as_large_as_what_it_is_given_and_depend_on_condition_and_time(unet: UNet) -> None:
    vectors, time, told = torch.randn(3, SIDE * SIDE * 3), torch.tensor([0.1, 0.5, 0.9]), torch.randn(3, CONDITION)
    with torch.inference_mode():
        found = unet(vectors, time, told)
        assert found.shape == vectors.shape
        assert not torch.allclose(found, unet(vectors, time, -told), atol=1e-4)
        assert not torch.allclose(found, unet(vectors, 1 - time, told), atol=1e-4)
        # Images of a batch have nothing to do with each other.
        assert torch.allclose(found[1:2], unet(vectors[1:2], time[1:2], told[1:2]), atol=1e-5)


def test_a_pixel_of_a_vector_is_that_of_its_photograph(unet: UNet) -> None:
    """A prediction moves most where its input does: positions are neither transposed nor mixed with colours."""
    vectors = torch.zeros(2, SIDE, SIDE, 3)
    vectors[1, 1, 6, :] = 5.0
    with torch.inference_mode():
        one, other = unet(vectors.flatten(1), torch.full((2,), 0.1), torch.zeros(2, CONDITION)).view(2, SIDE, SIDE, 3)
    moved = (one - other).abs().sum(2)
    assert divmod(int(moved.argmax()), SIDE) == (1, 6)


def test_its_levels_are_those_of_adm() -> None:
    with torch.device("meta"):
        of_64, of_128 = UNet(64, 192, 4), UNet(128, 256, 5)
    assert of_64.net.config.block_out_channels == [192, 384, 576, 768]
    assert of_128.net.config.block_out_channels == [256, 256, 512, 768, 1024]
    assert list(of_128.net.config.down_block_types) == ["DownBlock2D"] * 2 + ["AttnDownBlock2D"] * 3
    # Dhariwal and Nichol, table 4: 422 M weights at 128 pixels, with a class embedding and attention of other heads.
    assert sum(p.numel() for p in of_128.parameters()) == pytest.approx(422e6, rel=0.15)
