"""Layers by name: all of them, in the order in which they run, each seen once and then left alone."""

from __future__ import annotations

from collections import Counter

import pytest
import timm
import torch
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import TYPES
from harness.models.build import build
from harness.models.layers import named_layers, tapped

OPTIONS = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 12, "num_heads": 2, "dynamic_img_size": True}
Seen = list[tuple[str, Tensor]]


@pytest.fixture
def network() -> nn.Module:
    return build("vit_tiny_patch16_224", seed=1, **OPTIONS)


def pixels(count: int = 3, size: int = 16) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def watch(network: nn.Module, layers: dict[str, nn.Module], inputs: Tensor) -> Seen:
    seen: Seen = []
    with tapped(layers, lambda name, output: seen.append((name, output.clone()))):
        network.forward_features(inputs)
    return seen


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


def test_twelve_blocks_have_84_layers_named_by_block_and_type(network: nn.Module) -> None:
    layers = named_layers(network)
    assert list(layers) == [f"{i}.{kind}" for i in range(12) for kind in TYPES]
    assert len(layers) == len({id(module) for module in layers.values()}) == 84


def test_names_are_those_of_the_modules(network: nn.Module) -> None:
    found = dict(network.named_modules())
    for name, module in named_layers(network).items():
        block, kind = name.split(".", 1)
        assert module is found[f"blocks.{block}" if kind == "block" else f"blocks.{block}.{kind}"]


def test_layers_are_named_in_the_order_in_which_they_run_and_each_runs_once(network: nn.Module) -> None:
    layers = named_layers(network)
    assert [name for name, _ in watch(network, layers, pixels())] == list(layers)
    # Also when they are asked for in another order: what is seen follows the forward.
    backwards = dict(reversed(layers.items()))
    assert [name for name, _ in watch(network, backwards, pixels())] == list(layers)


def test_every_forward_is_seen(network: nn.Module) -> None:
    seen: list[str] = []
    with tapped(named_layers(network), lambda name, _: seen.append(name)), torch.inference_mode():
        for _ in range(3):
            network.forward_features(pixels())
    assert set(Counter(seen).values()) == {3}


def test_a_blocks_output_is_what_timm_calls_an_intermediate(network: nn.Module) -> None:
    seen = dict(watch(network, named_layers(network), pixels()))
    with torch.inference_mode():
        _, blocks = network.forward_intermediates(pixels(), return_prefix_tokens=True, output_fmt="NLC", norm=False)
    for i, (patches, prefix) in enumerate(blocks):
        torch.testing.assert_close(seen[f"{i}.block"], torch.cat([prefix, patches], 1), rtol=0, atol=0)


def test_the_other_layers_outputs_are_those_of_the_blocks_own_arithmetic(network: nn.Module) -> None:
    seen = dict(watch(network, named_layers(network), pixels()))
    with torch.inference_mode():
        for i in range(1, 12):
            at = {kind: seen[f"{i}.{kind}"] for kind in TYPES}
            block, before = network.blocks[i], seen[f"{i - 1}.block"]
            torch.testing.assert_close(at["norm1"], block.norm1(before))
            torch.testing.assert_close(at["attn.qkv"], block.attn.qkv(at["norm1"]))
            torch.testing.assert_close(at["norm2"], block.norm2(before + at["attn.proj"]))
            torch.testing.assert_close(at["mlp.fc1"], block.mlp.fc1(at["norm2"]))
            after = block.mlp.fc2(nn.functional.gelu(at["mlp.fc1"]))
            torch.testing.assert_close(at["block"], before + at["attn.proj"] + after)


def test_watching_changes_nothing(network: nn.Module) -> None:
    with torch.inference_mode():
        plain = network.forward_features(pixels())
        with tapped(named_layers(network), lambda _name, _output: None):
            torch.testing.assert_close(network.forward_features(pixels()), plain, rtol=0, atol=0)


def test_nothing_is_left_on_the_network_afterwards_not_even_by_an_error(network: nn.Module) -> None:
    layers = named_layers(network)
    with tapped(layers, lambda _name, _output: None):
        assert hooks(network) == 84

    def stumble(name: str, _output: Tensor) -> None:
        if name == "3.attn.proj":
            raise InvalidInput("test", field=name, seen="this", expected="that")

    with pytest.raises(InvalidInput, match=r"3\.attn\.proj"), tapped(layers, stumble):
        network.forward_features(pixels())
    assert hooks(network) == 0


def test_one_block_more_or_less_is_seven_layers_more_or_less() -> None:
    assert len(named_layers(build("vit_tiny_patch16_224", **(OPTIONS | {"depth": 5})))) == 35


def test_vit_base_has_84_layers_that_run_in_order() -> None:
    network = build("vit_base_patch16_224", seed=0)
    seen = watch(network, named_layers(network), pixels(1, 224))
    assert [name for name, _ in seen] == [f"{i}.{kind}" for i in range(12) for kind in TYPES]
    widths = {"attn.qkv": 2304, "mlp.fc1": 3072}
    assert {tuple(output.shape) for name, output in seen if name.split(".", 1)[1] not in widths} == {(1, 197, 768)}
    for kind, width in widths.items():
        assert {tuple(output.shape) for name, output in seen if name.endswith(kind)} == {(1, 197, width)}


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(InvalidInput, match="seen: VGG") as caught:
        named_layers(timm.create_model("vgg11", num_classes=0))
    assert "a timm ViT with .blocks" in str(caught.value)


def test_blocks_that_are_no_transformers_are_refused() -> None:
    with pytest.raises(InvalidInput, match="block 0") as caught:
        named_layers(timm.create_model("efficientnet_b0", num_classes=0))
    assert "a module norm1" in str(caught.value)


def test_a_block_that_lacks_a_type_is_named(network: nn.Module) -> None:
    del network.blocks[7].mlp.fc1
    with pytest.raises(InvalidInput, match=r"block 7[\s\S]*a module mlp\.fc1"):
        named_layers(network)
