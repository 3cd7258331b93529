"""For a notebook: compare two networks on images of yours, read what a profile measured, and judge a network.

`import harness` offers these calls: harness.compare, harness.load_network, harness.read, harness.judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import timm
from numpy.typing import NDArray
from torch import nn

from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import digest
from harness.data import draws, folder
from harness.data.images import Images, _decode, hashes
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import DRAWS, pairing_key, resample_weights
from harness.maths import cka
from harness.models.build import normalisation, normaliser
from harness.models.layers import named_layers
from harness.models.represent import represent
from harness.params.images import ReaderData
from harness.params.load import load_params
from harness.stages import networks
from harness.stages.place import Place

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Shown in the messages.
_HERE = "harness.compare"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Minibatch CKA (A.1, eq. 1 to 3) of every layer of one network with every layer of another.

    layers_a, layers_b: names such as 3.attn.qkv, in the order in which they run. cross: HSIC1 (minibatches, layers of a, layers
    of b). self_a, self_b: HSIC1 of each layer with itself, (minibatches, layers). images: a digest of the images seen.
    """

    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    cross: NDArray[np.float64]
    self_a: NDArray[np.float64]
    self_b: NDArray[np.float64]
    images: str

    @cached_property
    def cka(self) -> pd.DataFrame:
        """CKA by layer: the first network's in the rows. NaN where a layer's activations do not vary over the images."""
        return self._table(cka.minibatch_cka(self.cross, self.self_a, self.self_b))

    @cached_property
    def low(self) -> pd.DataFrame:
        """The lower ends of the 95 % confidence intervals, by layer."""
        return self._ends[0]

    @cached_property
    def high(self) -> pd.DataFrame:
        """The upper ends of the 95 % confidence intervals, by layer."""
        return self._ends[1]

    def estimate(self, a: str, b: str) -> Estimate:
        """CKA of two layers with its bootstrap draws over minibatches, which claims read too.

        Raises InvalidInput with the nearest names for an unknown layer, and for one whose activations do not vary.
        """
        i, j = (_place(layer, layers) for layer, layers in ((a, self.layers_a), (b, self.layers_b)))
        return self._estimate(self._resampled(i)[:, j])

    def plot(self, axes: Axes | None = None) -> Axes:
        """A heat map of the CKA on the axes given, or on new ones; the first network's layers from top to bottom."""
        if axes is None:
            from matplotlib.figure import Figure

            axes = Figure(figsize=(7, 6), layout="constrained").subplots()
        image = axes.imshow(self.cka, vmin=0, vmax=1, cmap="magma", interpolation="nearest")
        for axis, layers in ((axes.yaxis, self.layers_a), (axes.xaxis, self.layers_b)):
            # As many labels as can be read.
            shown = range(0, len(layers), max(1, len(layers) // 12))
            axis.set_ticks(list(shown), [layers[i] for i in shown])
        axes.tick_params(axis="x", rotation=90)
        axes.figure.colorbar(image, ax=axes, label="CKA")
        return axes

    @cached_property
    def _ends(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        low, high = np.full((2, *self.cross.shape[1:]), np.nan)
        for i in range(len(self.layers_a)):
            resampled = self._resampled(i)
            for j in np.flatnonzero(np.isfinite(resampled).all(0)):
                low[i, j], high[i, j] = self._estimate(resampled[:, j]).interval()
        return self._table(low), self._table(high)

    def _resampled(self, i: int) -> NDArray[np.float64]:
        """CKA of a layer of the first network with all of the second: on all minibatches, by draw, and without each of them."""
        weights = resample_weights(len(self.cross), DRAWS)
        return cka.minibatch_cka(self.cross[:, i : i + 1], self.self_a[:, i : i + 1], self.self_b, weights)[:, 0]

    def _estimate(self, values: NDArray[np.float64]) -> Estimate:
        k = len(self.cross)
        key = pairing_key(self.images, "minibatches", k, DRAWS)
        return Estimate(float(values[0]), values[1 : 1 + DRAWS], k, "minibatches", key, values[1 + DRAWS :])

    def _table(self, values: NDArray[np.float64]) -> pd.DataFrame:
        return pd.DataFrame(values, index=list(self.layers_a), columns=list(self.layers_b))


def compare(
    a: nn.Module | str,
    b: nn.Module | str,
    images: Path | str | NDArray[np.uint8],
    *,
    count: int = 1024,
    minibatch: int = 32,
    batch: int = 64,
    seed: int = 0,
    device: str = "cpu",
) -> Comparison:
    """Compare two networks layer by layer, by minibatch CKA on images: one forward of each.

    a, b: timm networks, or names of timm's pretrained weights such as vit_small_patch16_224.dino. Inputs are normalised by the
    mean and std in each network's pretrained_cfg.
    images: pixels (n, s, s, 3) uint8, or a folder, of which all image files count at whatever depth they lie; they are resized
    and cropped to each network's input_size. count: how many at most, drawn by the seed, in whole minibatches.
    Raises InvalidInput for fewer images than two minibatches, other arrays, files that are no images, and unknown networks.
    """
    banks = [_bank(_network(network), images, count, minibatch, batch, seed, device) for network in (a, b)]
    (layers_a, gram_a, seen_a), (layers_b, gram_b, _) = banks
    cross = cka.cross_hsic(gram_a, gram_b, minibatch)
    own = (cka.self_hsic(gram, minibatch) for gram in (gram_a, gram_b))
    return Comparison(layers_a, layers_b, cross, *own, seen_a)


def load_network(model: str, profile: str = "embedded", root: Path | str = ".") -> nn.Module:
    """A network that a profile measured, with its weights, such as load_network("mae"); `mae_ft` is the fine-tuned one.

    root: the project's folder. Raises InvalidInput for an unknown name, and MissingArtifact where there is no checkpoint.
    """
    place = Place(load_params(Path(root) / "params.yaml"), profile)
    network, _ = networks.load_network(place, model, Path(root))
    data = place.settings.data
    mean, std = normalisation(place.params.weights(model, profile), data)
    known: dict[str, Any] = {"mean": mean, "std": std, "input_size": (3, data.size, data.size)}
    network.pretrained_cfg = getattr(network, "pretrained_cfg", {}) | known
    return network


def _network(network: nn.Module | str) -> nn.Module:
    if not isinstance(network, str):
        return network
    try:
        return timm.create_model(network, pretrained=True, num_classes=0)
    except RuntimeError as error:
        expected = "a name in timm.list_models(pretrained=True), or a network"
        raise InvalidInput(_HERE, field="network", seen=f"{network}: {error}", expected=expected) from error


def _bank(
    network: nn.Module, images: Path | str | NDArray[np.uint8], count: int, minibatch: int, batch: int, seed: int, device: str
) -> tuple[tuple[str, ...], NDArray[np.float32], str]:
    """The network's layers, their U-centred Gram matrices (layers, minibatches, pairs), and a digest of the images."""
    config = getattr(network, "pretrained_cfg", None) or {}
    lacking = [key for key in ("mean", "std", "input_size") if not config.get(key)]
    if lacking:
        step = "set network.pretrained_cfg to a dictionary with mean, std and input_size"
        expected = "what its inputs are normalised by"
        raise InvalidInput(_HERE, field="pretrained_cfg", seen=f"no {', '.join(lacking)}", expected=expected, next_step=step)
    listed = _listed(images, count, seed, config)
    whole = listed.part(0, len(listed) // minibatch * minibatch)
    if len(whole) < 2 * minibatch:
        expected = f"at least two minibatches of {minibatch}"
        raise InvalidInput(_HERE, field="images", seen=f"{len(listed)} images", expected=expected)
    normalise = normaliser(config["mean"], config["std"]).to(device)
    rows = max(1, batch // minibatch) * minibatch
    grams, seen = [], []
    for part in represent(network, normalise, whole, rows, minibatch=minibatch, device=device):
        if part.grams is not None:
            grams.append(part.grams[:, :-1])
        seen.append(hashes(part.pixels))
    return tuple(named_layers(network)), np.concatenate(grams).transpose(1, 0, 2), digest(np.concatenate(seen).tolist())


def _listed(images: Path | str | NDArray[np.uint8], count: int, seed: int, config: dict[str, Any]) -> Images:
    if isinstance(images, np.ndarray):
        square = images.ndim == 4 and images.shape[1] == images.shape[2] and images.shape[3] == 3
        if images.dtype != np.uint8 or not square:
            seen = f"{images.shape} {images.dtype}"
            raise InvalidInput(_HERE, field="images", seen=seen, expected="pixels (n, size, size, 3) uint8")
        order = draws.permutation(seed, "compare", len(images))[:count]
        return Images(np.zeros(len(order), np.int64), 1, lambda index: images[order[index]])
    root = Path(images)
    if not root.is_dir():
        raise InvalidInput(root, field="images", seen="no folder", expected="a folder of images, or an array of pixels")
    paths = [path for path in sorted(root.rglob("*")) if folder._is_image(path.name)]
    chosen = [paths[i] for i in draws.permutation(seed, "compare", len(paths))[:count]]
    size = config["input_size"][-1]
    # Decoded as a profile's image files are, so that what is refused there is refused here.
    data = ReaderData(kind="reader", reader="", root=str(root), size=size, resize=round(size / (config.get("crop_pct") or 1.0)))
    return Images(np.zeros(len(chosen), np.int64), 1, lambda index: np.stack([_decode(chosen[i], data) for i in index]))


def _place(layer: str, layers: tuple[str, ...]) -> int:
    if layer not in layers:
        raise InvalidInput(_HERE, field="layer", seen=layer, expected=f"one of {', '.join(layers)}")
    return layers.index(layer)
