"""One forward of a model over a list of images, and everything that is later compared or classified from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput
from harness.data.images import Images
from harness.maths import hsic
from harness.models.layers import named_layers, tapped


@dataclass(frozen=True)
class Seen:
    """What one batch of b images gave.

    grams: (b / minibatch, layers + 1, pairs) float32, U-centred and packed, the pixels last; None without `minibatch`.
    norm: (layers + 1,) sum over the images of the squared norm of their activations; None without `minibatch`.
    features: (b, 2, depth + 1, width) float16, the CLS token and the mean patch token after each block and, last, after the
    final norm. pixels: (b, s, s, 3) uint8.
    """

    pixels: NDArray[np.uint8]
    features: NDArray[np.float16]
    grams: NDArray[np.float32] | None
    norm: NDArray[np.float64] | None


@dataclass
class _Tap:
    """What the hooks of one forward collect: Grams at once, since activations are too large to keep."""

    minibatch: int | None
    grams: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    tokens: list[Tensor] = field(default_factory=list)
    prefix: int = 1

    def see(self, name: str, output: Tensor) -> None:
        if name.endswith(".block"):
            self.tokens.append(self.pool(output))
        if self.minibatch is not None:
            self.reduce(output)

    def reduce(self, output: Tensor) -> None:
        products, norm = hsic.gram(output.reshape(-1, self.minibatch or 0, output[0].numel()))
        self.grams.append(products)
        self.norms.append(norm)

    def pool(self, tokens: Tensor) -> Tensor:
        return torch.stack([tokens[:, 0], tokens[:, self.prefix :].mean(1)], 1)


@torch.inference_mode()
def represent(
    network: nn.Module, normalise: nn.Module, images: Images, batch: int, *, minibatch: int | None = None, device: str = "cpu"
) -> Iterator[Seen]:
    """Forward each image once, in order, `batch` at a time. Peak memory depends on the batch, not on the number of images.

    normalise: what turns pixels in [0, 1] (b, 3, s, s) into the network's input. minibatch: with it, also the Grams of every
    layer over minibatches of that many consecutive images; batch and the number of images must be multiples of it.
    Raises InvalidInput for a tail smaller than a minibatch, a network without CLS token, and NaN or Inf activations.
    """
    if not getattr(network, "num_prefix_tokens", 0):
        raise InvalidInput("extract", field="network", seen=type(network).__name__, expected="a ViT with a CLS token")
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
        tap = _Tap(minibatch, prefix=network.num_prefix_tokens)
        with tapped(layers, tap.see):
            final = network.forward_features(inputs)
        features = torch.stack([*tap.tokens, tap.pool(final)], 2)
        if minibatch is None:
            grams, norm = None, None
        else:
            tap.reduce(inputs)
            grams, norm = torch.stack(tap.grams, 1), torch.stack(tap.norms).double().sum(1) * minibatch
        # A NaN or Inf activation, or a Gram matrix that overflows, is not finite in the norm either.
        if not _fits_half(features) or (norm is not None and not torch.isfinite(norm).all()):
            _blame(network, named_layers(network), inputs, features, start)
        yield Seen(
            pixels=pixels,
            features=features.to(torch.float16).cpu().numpy(),
            grams=None if grams is None else hsic.u_centre(grams).cpu().numpy(),
            norm=None if norm is None else norm.cpu().numpy(),
        )


def _fits_half(features: Tensor) -> bool:
    low, high = features.aminmax()
    limit = torch.finfo(torch.float16).max
    # A NaN among the features makes both NaN, and every comparison with it false.
    return bool((low >= -limit) & (high <= limit))


def _blame(network: nn.Module, layers: dict[str, nn.Module], inputs: Tensor, features: Tensor, start: int) -> None:
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
    where = f"features after block {int(large[0, 2])}, image {start + int(large[0, 0])}" if len(large) else "a Gram matrix"
    raise InvalidInput(
        "extract",
        field=f"images {start} to {start + len(inputs) - 1}",
        seen=f"{where}: an overflow",
        expected=f"features within float16 (at most {limit:.0f}) and Gram matrices within float32",
    )
