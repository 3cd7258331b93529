"""What one forward leaves behind: Grams and features equal those of activations captured separately."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput
from harness.artifacts.layout import Layout
from harness.artifacts.tables import TYPES
from harness.data.images import Images
from harness.maths.hsic import centred_gram
from harness.models.build import build, normaliser
from harness.models.layers import named_layers, tapped
from harness.models.represent import Representation, represent

DEPTH, WIDTH, MINIBATCH, COUNT = 3, 16, 8, 32
OPTIONS = {"img_size": 16, "patch_size": 4, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": 2, "dynamic_img_size": True}


@pytest.fixture
def network() -> nn.Module:
    return build("vit_tiny_patch16_224", seed=1, **OPTIONS)


@pytest.fixture
def normalise() -> nn.Module:
    return normaliser([0.5, 0.4, 0.3], [0.2, 0.25, 0.3])


def images(count: int = COUNT, size: int = 16) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    return Images(np.zeros(count, np.int64), 2, lambda index: pixels[index])


def joined(parts: list[Representation], name: str) -> np.ndarray:
    return np.concatenate([getattr(part, name) for part in parts])


def inputs(normalise: nn.Module, size: int = 16) -> Tensor:
    return normalise(torch.from_numpy(images(size=size).read(np.arange(COUNT))).permute(0, 3, 1, 2).float() / 255)


@torch.inference_mode()
def activations(network: nn.Module, normalise: nn.Module) -> list[Tensor]:
    """Every named layer's output over all images at once and, last, the pixels: (n, p) each, float64."""
    kept: list[Tensor] = []
    with tapped(named_layers(network), lambda _name, output: kept.append(output.flatten(1).double())):
        network.forward_features(inputs(normalise))
    return [*kept, inputs(normalise).flatten(1).double()]


def test_grams_are_those_of_the_activations_and_the_pixels_come_last(network: nn.Module, normalise: nn.Module) -> None:
    parts = list(represent(network, normalise, images(), 16, minibatch=MINIBATCH))
    grams, expected = joined(parts, "grams"), activations(network, normalise)
    assert grams.shape == (COUNT // MINIBATCH, DEPTH * len(TYPES) + 1, MINIBATCH * (MINIBATCH - 1) // 2)
    assert grams.dtype == np.float32
    for layer, features in enumerate(expected):
        oracle = centred_gram(features.unflatten(0, (-1, MINIBATCH)), torch.float64).numpy()
        np.testing.assert_allclose(grams[:, layer], oracle, rtol=0, atol=1e-5 * np.abs(oracle).max())


def test_the_norm_is_the_sum_over_images_of_the_squared_norm(network: nn.Module, normalise: nn.Module) -> None:
    parts = list(represent(network, normalise, images(), 16, minibatch=MINIBATCH))
    expected = [features.square().sum().item() for features in activations(network, normalise)]
    np.testing.assert_allclose(np.sum([part.norm for part in parts], 0), expected, rtol=1e-5)


def test_features_are_timms_intermediates_and_the_final_norm(network: nn.Module, normalise: nn.Module) -> None:
    with torch.inference_mode():
        final, blocks = network.forward_intermediates(
            inputs(normalise), return_prefix_tokens=True, output_fmt="NLC", norm=False
        )
    cls = torch.stack([prefix[:, 0] for _, prefix in blocks] + [final[:, 0]], 1)
    patches = torch.stack([patch.mean(1) for patch, _ in blocks] + [final[:, 1:].mean(1)], 1)
    features = joined(list(represent(network, normalise, images(), 16)), "features")
    (layout,) = {part.layout for part in represent(network, normalise, images(), 16)}
    assert layout == Layout(("cls", "gap"), (WIDTH,) * (DEPTH + 1))
    assert features.shape == (COUNT, layout.columns)
    assert features.dtype == np.float16
    for depth in range(DEPTH + 1):
        np.testing.assert_allclose(features[:, layout.at("cls", depth)], cls[:, depth], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(features[:, layout.at("gap", depth)], patches[:, depth], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "widths"),
    [
        ("resnet26", {}, [256] * 2 + [512] * 2 + [1024] * 2 + [2048] * 2 + [2048]),
        ("convnext_atto", {"depths": (1, 2, 1, 1), "dims": (8, 16, 24, 32)}, [8, 16, 16, 24, 32, 32]),
    ],
)
def test_convolutional_networks_give_their_blocks_pooled_maps(
    name: str, options: dict[str, object], widths: list[int], normalise: nn.Module
) -> None:
    network = build(name, seed=1, **options)
    # Statistics and scales that a trained network would have, lest all blocks pass on the same.
    generator = torch.Generator().manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5, generator=generator)
            part.running_mean.uniform_(-0.1, 0.1, generator=generator)
    kept: list[Tensor] = []
    layers = named_layers(network)
    assert list(layers) == [f"{i}.block" for i in range(len(widths) - 1)]
    with torch.inference_mode(), tapped(layers, lambda _name, output: kept.append(output.clone())):
        handed_on = network(inputs(normalise, 32))
    layout = Layout(("gap",), tuple(widths))
    seen = list(represent(network, normalise, images(size=32), 16, minibatch=MINIBATCH))
    assert {part.layout for part in seen} == {layout}
    features, grams = joined(seen, "features"), joined(seen, "grams")
    for depth, output in enumerate([*(output.mean((2, 3)) for output in kept), handed_on]):
        np.testing.assert_allclose(features[:, layout.at("gap", depth)], output, rtol=2e-3, atol=1e-4)
    oracle = centred_gram(kept[1].flatten(1).double().unflatten(0, (-1, MINIBATCH)), torch.float64).numpy()
    np.testing.assert_allclose(grams[:, 1], oracle, rtol=0, atol=1e-5 * np.abs(oracle).max())


@pytest.mark.parametrize("batch", [8, 24, 32, 40])
def test_the_batch_changes_nothing_beyond_rounding(network: nn.Module, normalise: nn.Module, batch: int) -> None:
    one, other = (list(represent(network, normalise, images(), size, minibatch=MINIBATCH)) for size in (16, batch))
    assert len(other) == -(-COUNT // batch)
    a, b = joined(one, "grams"), joined(other, "grams")
    assert (np.abs(a - b).max((0, 2)) <= 1e-5 * np.abs(a).max((0, 2))).all()
    np.testing.assert_allclose(joined(one, "features"), joined(other, "features"), rtol=2e-3, atol=1e-5)
    np.testing.assert_array_equal(joined(one, "pixels"), joined(other, "pixels"))


def test_without_a_minibatch_any_number_of_images_gives_features_alone(network: nn.Module, normalise: nn.Module) -> None:
    parts = list(represent(network, normalise, images(21), 8))
    assert [len(part.features) for part in parts] == [8, 8, 5]
    assert all(part.grams is None and part.norm is None for part in parts)
    both = joined(list(represent(network, normalise, images(), 8, minibatch=8)), "features")
    np.testing.assert_allclose(joined(parts, "features"), both[:21], rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(("count", "batch"), [(31, 16), (32, 12)])
def test_a_tail_smaller_than_a_minibatch_is_refused(network: nn.Module, normalise: nn.Module, count: int, batch: int) -> None:
    with pytest.raises(InvalidInput, match="multiples of the minibatch, 8") as caught:
        next(represent(network, normalise, images(count), batch, minibatch=MINIBATCH))
    assert f"{count} images, {batch} at a time" in str(caught.value)


@pytest.mark.parametrize("minibatch", [None, MINIBATCH])
def test_a_nan_names_the_first_layer_and_image(network: nn.Module, normalise: nn.Module, minibatch: int | None) -> None:
    with torch.no_grad():
        network.blocks[1].mlp.fc1.weight[3, 2] = float("nan")
    with pytest.raises(InvalidInput, match=r"layer 1\.mlp\.fc1") as caught:
        list(represent(network, normalise, images(), 16, minibatch=minibatch))
    assert "in 16 images, first in image 0" in str(caught.value)


def test_the_image_is_numbered_over_all_batches(network: nn.Module, normalise: nn.Module) -> None:
    calls = []

    def spoil(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        calls.append(len(output))
        # The first batch and, before it, one empty image pass.
        if len(calls) > 2:
            output = output.clone()
            output[3, 5, 7] = float("inf")
        return output

    network.blocks[2].norm1.register_forward_hook(spoil)
    with pytest.raises(InvalidInput, match=r"layer 2\.norm1") as caught:
        list(represent(network, normalise, images(), 16, minibatch=MINIBATCH))
    assert "1 NaN or Inf in 1 images, first in image 19" in str(caught.value)


def test_features_beyond_float16_are_refused_and_located(network: nn.Module, normalise: nn.Module) -> None:
    with torch.no_grad():
        network.blocks[2].mlp.fc2.bias.fill_(70_000)
    with pytest.raises(InvalidInput, match="features after block 2, image 0: an overflow"):
        list(represent(network, normalise, images(), 16))


def test_a_gram_beyond_float32_is_refused(network: nn.Module, normalise: nn.Module) -> None:
    with torch.no_grad():
        # A unit that nothing reads: 1e20 is a float32, its square is not.
        network.blocks[0].mlp.fc1.bias[5] = 1e20
        network.blocks[0].mlp.fc2.weight[:, 5] = 0
    with pytest.raises(InvalidInput, match="a Gram matrix: an overflow"):
        list(represent(network, normalise, images(), 16, minibatch=MINIBATCH))
    assert len(list(represent(network, normalise, images(), 16))) == 2


SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": WIDTH, "depth": 2, "num_heads": 2}


@pytest.mark.parametrize(
    ("name", "options", "registers", "cls"),
    [
        # Registers and no CLS token.
        ("vit_medium_patch16_reg4_gap_256", {}, 4, False),
        # A CLS token, of which the output is not made.
        ("vit_tiny_patch16_224", {"global_pool": "avg"}, 1, False),
        # Neither.
        ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}, 0, False),
        # A CLS token and registers.
        ("vit_small_patch14_reg4_dinov2", {}, 5, True),
        # A CLS token and one that learns from another network: the output is their mean.
        ("deit_tiny_distilled_patch16_224", {}, 2, True),
    ],
)
def test_what_is_read_is_what_the_networks_head_is_given(
    normalise: nn.Module, name: str, options: dict[str, object], registers: int, cls: bool
) -> None:
    network = build(name, seed=3, **SMALL, **options)
    with torch.inference_mode():
        output = network.forward_features(inputs(normalise))
        pre_logits = network.forward_head(output, pre_logits=True)
        blocks = [block for block in network.forward_intermediates(inputs(normalise), norm=False, output_fmt="NLC")[1]]
    parts = list(represent(network, normalise, images(), 16))
    features, layout = joined(parts, "features"), parts[0].layout
    assert layout.tokens == (("cls", "gap") if cls else ("gap",))
    close = {"rtol": 1e-3, "atol": 1e-3}
    np.testing.assert_allclose(features[:, layout.at(layout.tokens[0], -1)], pre_logits, **close)
    # Registers are no patches.
    for depth, patches in enumerate(blocks):
        assert patches.shape[1] == 16
        np.testing.assert_allclose(features[:, layout.at("gap", depth)], patches.mean(1), **close)
    if cls:
        np.testing.assert_allclose(features[:, layout.at("gap", -1)], output[:, registers:].mean(1), **close)


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "eva02_tiny_patch14_224"])
def test_a_layer_that_the_network_never_calls_is_refused_before_any_image(normalise: nn.Module, name: str) -> None:
    network = build(name, seed=3, **SMALL)
    read: list[int] = []

    def spy(index: np.ndarray) -> np.ndarray:
        read.extend(index.tolist())
        return images().read(index)

    watched = Images(np.zeros(COUNT, np.int64), 2, spy)
    with pytest.raises(InvalidInput, match=r"layer 0\.attn\.qkv[\s\S]*never called|a module attn") as refused:
        list(represent(network, normalise, watched, 16, minibatch=MINIBATCH))
    assert refused.value.exit_code == 12
    assert len(read) <= 16


def test_a_network_of_another_image_size_is_refused_with_both_sizes(normalise: nn.Module) -> None:
    network = build("vit_tiny_patch16_224", **(SMALL | {"img_size": 28}))
    with pytest.raises(InvalidInput, match=r"images of 16 x 16[\s\S]*28"):
        next(represent(network, normalise, images(), 16))


PEAK = """
import numpy as np
from harness.data.images import Images
from harness.models.build import build, normaliser
from harness.models.represent import represent

options = dict(img_size=16, patch_size=4, embed_dim=64, depth=3, num_heads=4, dynamic_img_size=True)
network = build("vit_tiny_patch16_224", **options)


def read(index):
    return (np.add.outer(index, np.arange(768)) % 256).astype(np.uint8).reshape(-1, 16, 16, 3)


def peak(count):
    source = Images(np.zeros(count, np.int64), 2, read)
    for seen in represent(network, normaliser([0.5] * 3, [0.2] * 3), source, 128, minibatch=32):
        pass
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])


few = peak(256)
print(peak(1024) - few)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its own peak")
def test_peak_memory_does_not_grow_with_the_number_of_images() -> None:
    grown = int(subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout) / 1024
    # Kept activations would be 20 MB per 128 images, 120 MB in all.
    assert grown < 20
