"""Networks are their seed, start as their method prescribes, and a name or option that timm does not know is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.models.build import build, normalisation, normaliser
from harness.params.load import load_params
from harness.params.models import Released

NAME = "vit_tiny_patch16_224"
OPTIONS: dict[str, Any] = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 3, "num_heads": 2}


def tiny(**options: Any) -> nn.Module:
    return build(NAME, **(OPTIONS | options))


def same(a: nn.Module, b: nn.Module) -> dict[str, bool]:
    other = b.state_dict()
    return {name: torch.equal(value, other[name]) for name, value in a.state_dict().items()}


@pytest.mark.parametrize("positions", [None, "sincos", "learned"])
def test_a_network_is_its_seed_whatever_was_drawn_before(positions: str | None) -> None:
    torch.manual_seed(123)
    first = tiny(seed=5, positions=positions)
    torch.rand(1000)
    assert all(same(first, tiny(seed=5, positions=positions)).values())


@pytest.mark.parametrize("positions", [None, "sincos", "learned"])
def test_another_seed_draws_every_matrix_anew(positions: str | None) -> None:
    equal = same(tiny(seed=5, positions=positions), tiny(seed=6, positions=positions))
    matrices = [name for name in equal if name.endswith("weight") and "norm" not in name]
    assert len(matrices) == 1 + 3 * 4
    assert not any(equal[name] for name in matrices)


def test_a_network_has_no_classifier_and_is_in_evaluation_mode() -> None:
    network = tiny()
    assert not any(module.training for module in network.modules())
    assert not [name for name, _ in network.named_parameters() if name.startswith("head")]
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 16)


def formula(grid: int, width: int) -> np.ndarray:
    """(1 + grid^2, width): zeros for CLS, then sine and cosine of x, sine and cosine of y, a quarter of the width each.

    Appendix of He et al. (2022) by way of Vaswani et al. (2017): frequencies 10000^(-i / (width / 4)); patches row by row.
    """
    frequency = 10000.0 ** (-np.arange(width // 4) / (width // 4))
    y, x = (axis.reshape(-1, 1) * frequency for axis in np.meshgrid(np.arange(grid), np.arange(grid), indexing="ij"))
    return np.concatenate([np.zeros((1, width)), np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], 1)])


@pytest.mark.parametrize(("size", "width"), [(16, 16), (24, 32)])
def test_sincos_positions_are_the_formula_and_fixed(size: int, width: int) -> None:
    network = tiny(positions="sincos", img_size=size, embed_dim=width)
    np.testing.assert_allclose(network.pos_embed[0].numpy(), formula(size // 4, width), atol=1e-6)
    assert not network.pos_embed.requires_grad
    assert all(p.requires_grad for name, p in network.named_parameters() if name != "pos_embed")


def test_sincos_positions_do_not_depend_on_the_seed_and_move_patches_apart() -> None:
    a, b = tiny(seed=1, positions="sincos"), tiny(seed=2, positions="sincos")
    assert torch.equal(a.pos_embed, b.pos_embed)
    distances = torch.cdist(a.pos_embed[0, 1:], a.pos_embed[0, 1:]) + torch.eye(16)
    assert distances.min() > 0.1


@pytest.mark.parametrize("positions", [None, "learned"])
def test_learned_positions_are_small_random_and_trainable(positions: str | None) -> None:
    network = tiny(seed=1, positions=positions)
    assert network.pos_embed.requires_grad
    assert 0.01 < network.pos_embed.std() < 0.03
    assert not torch.equal(network.pos_embed, tiny(seed=2, positions=positions).pos_embed)


def xavier(weight: Tensor) -> float:
    return float(np.sqrt(6 / sum(weight.flatten(1).shape)))


def test_sincos_networks_start_with_xavier_uniform_projections() -> None:
    network = tiny(positions="sincos", embed_dim=64)
    layers = {name: p for name, p in network.named_parameters() if p.ndim >= 2 and name.endswith("weight")}
    assert len(layers) == 1 + 3 * 4
    for name, weight in layers.items():
        bound = xavier(weight)
        assert 0.9 * bound < weight.abs().max() <= bound, name
        # Of a uniform distribution: bound / sqrt(3). The smallest matrix has 3,072 entries.
        assert abs(weight.std() / bound - 3**-0.5) < 0.02, name
    # As in MAE, all biases start at 0 but that of the convolution that embeds the patches.
    biases = {name: p for name, p in network.named_parameters() if name.endswith("bias") and not name.startswith("patch_embed")}
    assert len(biases) == 3 * 6 + 1
    assert all((p == 0).all() for p in biases.values())


@pytest.mark.parametrize("positions", ["sin", "sincos2d", "", "Learned"])
def test_unknown_positions_are_refused(positions: str) -> None:
    with pytest.raises(InvalidInput, match="sincos or learned") as caught:
        tiny(positions=positions)
    assert f"seen: {positions}" in str(caught.value)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"architectures\.\*\.name") as caught:
        build("vit_tiny_patch16_24")
    assert "vit_tiny_patch16_24" in str(caught.value)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_24", "vti_tiny_patch16_224"])
def test_an_unknown_name_is_told_the_nearest(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"expected: .*vit_tiny_patch16_224"):
        build(name)


def test_a_name_like_no_other_is_told_where_the_names_are() -> None:
    with pytest.raises(InvalidInput, match=r"expected: one of timm\.list_models\(\)"):
        build("#")


def test_positions_are_for_networks_that_have_some() -> None:
    for positions in ("sincos", "learned"):
        with pytest.raises(InvalidInput, match=f"positions {positions}"):
            build("resnet18", positions=positions)
    with pytest.raises(InvalidInput, match="embed_dim"):
        tiny(positions="sincos", embed_dim=18)


@pytest.mark.parametrize(
    "options", [{"embed_dimm": 16}, {"depth": "twelve"}, {"num_heads": 3}, {"num_classes": 10}, {"pretrained": True}]
)
def test_an_option_that_does_not_fit_is_refused_by_its_name(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        tiny(**options)


def test_weights_of_timm_are_normalised_as_they_were_trained_and_others_as_the_data_says() -> None:
    data = load_params(ROOT / "params.yaml").of("laptop").data

    def of(**weights: str) -> object:
        return normalisation(Released.model_validate(weights), data)

    assert of(timm="vit_base_patch16_224.augreg_in21k") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert of(timm="vit_base_patch16_224.mae") == of(hub="owner/name") == of(file="mine.pth") == (data.mean, data.std)
    with pytest.raises(InvalidInput, match=r"vit_base_patch16_224\.may[\s\S]*vit_base_patch16_224\.mae"):
        of(timm="vit_base_patch16_224.may")


def test_the_normaliser_takes_mean_and_std_by_channel() -> None:
    pixels = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 0.125]
    expected = torch.stack([(pixels[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    torch.testing.assert_close(normaliser(mean, std)(pixels), expected)
