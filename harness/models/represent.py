"""One forward of a model over a list of images: the Gram matrices and features that all later stages use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput
from harness.artifacts.layout import Layout
from harness.artifacts.tables import TOKENS
from harness.data.images import Images
from harness.maths import hsic
from harness.models.layers import CONVOLUTIONAL, named_layers, tapped


@dataclass(frozen=True)
class Representation:
    """The layers and features of one batch of b images.

    grams: (b / minibatch, layers + 1, pairs) float32, U-centred and packed, the pixels last; None without `minibatch`.
    norm: (layers + 1,) sum over the images of the squared norm of their activations; None without `minibatch`.
    features: (b, columns of the layout) float16. pixels: (b, s, s, 3) uint8.
    """

    pixels: NDArray[np.uint8]
    features: NDArray[np.float16]
    layout: Layout
    grams: NDArray[np.float32] | None
    norm: NDArray[np.float64] | None


class _Tokens(NamedTuple):
    """prefix: how many tokens come before those of the patches, CLS and registers alike; None where there are maps.
    cls: whether the first of them is a CLS token that the network's output is made of.
    """

    prefix: int | None
    cls: bool


@dataclass
class _Tap:
    """What the hooks of one forward collect: Grams at once, since activations are too large to keep."""

    minibatch: int | None
    grams: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    pooled: list[Tensor] = field(default_factory=list)
    tokens: _Tokens = field(default_factory=lambda: _Tokens(1, True))

    def record(self, name: str, output: Tensor) -> None:
        if name.endswith(".block"):
            self.pooled.append(self.pool(output))
        if self.minibatch is not None:
            self.reduce(output)

    def reduce(self, output: Tensor) -> None:
        products, norm = hsic.gram(output.reshape(-1, self.minibatch or 0, output[0].numel()))
        self.grams.append(products)
        self.norms.append(norm)

    def pool(self, output: Tensor) -> Tensor:
        """Tokens (b, n, width), or a map (b, width, h, w), to (b, token, width)."""
        if self.tokens.prefix is None:
            return output.mean((2, 3))[:, None]
        patches = output[:, self.tokens.prefix :].mean(1)
        return torch.stack([output[:, 0], patches], 1) if self.tokens.cls else patches[:, None]


@torch.inference_mode()
def represent(
    network: nn.Module, normalise: nn.Module, images: Images, batch: int, *, minibatch: int | None = None, device: str = "cpu"
) -> Iterator[Representation]:
    """Forward each image once, in order, `batch` at a time. Peak memory depends on the batch, not on the number of images.

    normalise: what turns pixels in [0, 1] (b, 3, s, s) into the network's input. minibatch: with it, also the Grams of every
    layer over minibatches of that many consecutive images; batch and the number of images must be multiples of it.
    Raises InvalidInput for a tail smaller than a minibatch, NaN or Inf activations, and before any image is seen for a network
    of other inputs and for a layer that it never calls.
    """
    tokens = _tokens(network)
    if minibatch is not None and (len(images) % minibatch or batch % minibatch):
        seen = f"{len(images)} images, {batch} at a time"
        raise InvalidInput("extract", field="images and batch", seen=seen, expected=f"multiples of the minibatch, {minibatch}")
    layers = named_layers(network)
    if minibatch is None:
        layers = {name: module for name, module in layers.items() if name.endswith(".block")}
    network.to(device).eval()
    for start in range(0, len(images), batch):
        pixels = images.read(np.arange(start, min(start + batch, len(images))))
        inputs = normalise(torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255)
        if start == 0:
            _refuse_layers_never_called(network, layers, torch.zeros_like(inputs[:1]))
        tap = _Tap(minibatch, tokens=tokens)
        with tapped(layers, tap.record):
            final = _pre_logits(network, tap, inputs)
        # (b, token, width) of each depth to a row: token by token, of each its depths.
        pooled = [*tap.pooled, final]
        layout = Layout(TOKENS if tokens.cls else TOKENS[1:], tuple(part.shape[2] for part in pooled))
        features = torch.cat(pooled, 2).flatten(1)
        if minibatch is None:
            grams, norm = None, None
        else:
            tap.reduce(inputs)
            grams, norm = torch.stack(tap.grams, 1), torch.stack(tap.norms).double().sum(1) * minibatch
        # A NaN or Inf activation, or a Gram matrix that overflows, is not finite in the norm either.
        if not _fits_half(features) or (norm is not None and not torch.isfinite(norm).all()):
            _raise_first_nonfinite(network, named_layers(network), inputs, features, layout, start)
        yield Representation(
            pixels=pixels,
            features=features.to(torch.float16).cpu().numpy(),
            layout=layout,
            grams=None if grams is None else hsic.u_centre(grams).cpu().numpy(),
            norm=None if norm is None else norm.cpu().numpy(),
        )


def from_embeddings(
    rows: NDArray[np.float16], normalise: nn.Module, images: Images, batch: int, minibatch: int | None
) -> Iterator[Representation]:
    """What `represent` gives, of embeddings (n, width) in the place of a network's: of it no layers but the pixels."""
    layout = Layout(TOKENS[:1], (rows.shape[1],))
    for start in range(0, len(images), batch):
        index = np.arange(start, min(start + batch, len(images)))
        pixels = images.read(index)
        grams, norm = None, None
        if minibatch is not None:
            tap = _Tap(minibatch)
            tap.reduce(normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255))
            grams, norm = (
                hsic.u_centre(torch.stack(tap.grams, 1)).numpy(),
                torch.stack(tap.norms).double().sum(1).numpy() * minibatch,
            )
        yield Representation(pixels, rows[index], layout, grams, norm)


def _tokens(network: nn.Module) -> _Tokens:
    """Which tokens a network has. A register is no CLS token, and one of which the output is not made was not trained as a CLS
    token: such networks are read by their patch tokens, like convolutional ones by their maps.
    """
    if isinstance(network, CONVOLUTIONAL):
        return _Tokens(None, False)
    prefix = getattr(network, "num_prefix_tokens", None)
    if prefix is None:
        expected = "a ViT, a ResNet or a ConvNeXt"
        raise InvalidInput("extract", field="network", seen=type(network).__name__, expected=expected)
    cls = getattr(network, "cls_token", None) is not None and getattr(network, "global_pool", "token") == "token"
    return _Tokens(int(prefix), cls)


def _pre_logits(network: nn.Module, tap: _Tap, inputs: Tensor) -> Tensor:
    """(b, token, width): what a classifier would be given and, beside a CLS token, the mean of the patches' after the norm."""
    output = network.forward_features(inputs)
    pre_logits = network.forward_head(output, pre_logits=True)
    return torch.stack([pre_logits, tap.pool(output)[:, 1]], 1) if tap.tokens.cls else pre_logits[:, None]


def _refuse_layers_never_called(network: nn.Module, layers: dict[str, nn.Module], inputs: Tensor) -> None:
    """Raise InvalidInput for a network that does not take such inputs, for a layer that is no part of its forward pass, and for
    tokens that come after the blocks, such as the CLS token of a CaiT.
    """
    called: dict[str, Tensor] = {}
    try:
        with tapped(layers, called.__setitem__):
            output = network.forward_features(inputs)
    except (AssertionError, RuntimeError, ValueError) as error:
        size = " x ".join(map(str, inputs.shape[2:]))
        said = " ".join(str(error).split()) or type(error).__name__
        step = "set the architecture's img_size to the profile's, or dynamic_img_size where its positions are learned"
        raise InvalidInput("extract", field="network", seen=f"images of {size}", expected=said, next_step=step) from error
    uncalled = [name for name in layers if name not in called]
    if uncalled:
        kinds = sorted({name.partition(".")[2] for name in uncalled})
        expected = "layers that the network calls as modules"
        step = f"its {', '.join(kinds)} cannot be measured: timm computes them without the module"
        raise InvalidInput("extract", field=f"layer {uncalled[0]}", seen="never called", expected=expected, next_step=step)
    for name, block in called.items():
        if name.endswith(".block") and not isinstance(network, CONVOLUTIONAL) and block.shape[1:-1] != output.shape[1:-1]:
            seen, expected = f"{tuple(block.shape[1:-1])} tokens", f"the {tuple(output.shape[1:-1])} of the network's output"
            step = "a network whose CLS token joins after these blocks cannot be measured block by block"
            raise InvalidInput("extract", field=f"layer {name}", seen=seen, expected=expected, next_step=step)


def _fits_half(features: Tensor) -> bool:
    low, high = features.aminmax()
    limit = torch.finfo(torch.float16).max
    # A NaN among the features makes both NaN, and every comparison with it false.
    return bool((low >= -limit) & (high <= limit))


def _raise_first_nonfinite(
    network: nn.Module, layers: dict[str, nn.Module], inputs: Tensor, features: Tensor, layout: Layout, start: int
) -> None:
    """Forward once more to name the first layer and image whose activations are not finite or too large."""

    def look(name: str, output: Tensor) -> None:
        bad = (~torch.isfinite(output)).flatten(1).sum(1)
        if bad.any():
            image = int(bad.nonzero()[0, 0])
            seen = f"{int(bad.sum())} NaN or Inf in {int((bad > 0).sum())} images, first in image {start + image}"
            raise InvalidInput("extract", field=f"layer {name}", seen=seen, expected="finite activations")

    with tapped(layers, look):
        network.forward_features(inputs)
    limit = torch.finfo(torch.float16).max
    large = (features.abs() > limit).nonzero()
    where = "a Gram matrix"
    if len(large):
        image, column = large[0].tolist()
        where = f"features after block {layout.depth_of(column)}, image {start + image}"
    raise InvalidInput(
        "extract",
        field=f"images {start} to {start + len(inputs) - 1}",
        seen=f"{where}: an overflow",
        expected=f"features within float16 (at most {limit:.0f}) and Gram matrices within float32",
    )
