"""Sweep: CKA by minibatch size and by number of images (A.1, Fig. A1), on disjoint sets of images."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import digest
from harness.artifacts.tables import SWEEP, TYPES, pack
from harness.data import draws, images
from harness.maths import hsic
from harness.models import checkpoint
from harness.models.build import build, normalisation, normaliser
from harness.models.layers import named_layers, tapped
from harness.stages.place import Place

LIBRARIES = ("torch", "timm", "kornia", "numpy", "scikit-learn")


def run(place: Place, *, device: str = "cpu") -> None:
    """Make sweep: CKA of random layers of two models at each minibatch size and each number of images."""
    settings, chosen = place.settings, place.settings.sweep
    networks, normalise, inputs = [], [], {}
    for model in settings.sweep_models:
        architecture = place.params.architecture(model, place.profile)
        networks.append(build(architecture.name, **architecture.options))
        weights = checkpoint.load(place.path("checkpoints", model), networks[-1], place.precision(model))
        inputs[f"checkpoints/{model}"] = weights.sha256
        networks[-1].to(device)
        normalise.append(normaliser(*normalisation(place.params.weights(model, place.profile), settings.data)).to(device))
    names = sorted(set(named_layers(networks[0])) & set(named_layers(networks[1])), key=_order)
    if len(names) < chosen.layers:
        expected = f"at most the {len(names)} layers that {' and '.join(settings.sweep_models)} share"
        field = f"profiles.{place.profile}.sweep.layers"
        raise InvalidInput("params.yaml", field=field, seen=chosen.layers, expected=expected)
    names = [names[i] for i in sorted(draws.permutation(chosen.seed, "sweep/layers", len(names))[: chosen.layers])]
    most, size = max(*chosen.images, *chosen.minibatches), settings.extract.batch
    source = images.load(settings.data, "validation", most * chosen.subsets, chosen.seed)
    columns: dict[str, list[NDArray[np.float64]]] = {"batch": [], "biased": [], "count": []}
    hashes = []
    for i in tqdm(range(chosen.subsets), unit="subset", disable=not sys.stderr.isatty()):
        part = source.part(i * most, (i + 1) * most)
        pixels = part.read(np.arange(most))
        hashes.append(images.hashes(pixels).tolist())
        raw = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
        grams = [
            _grams(network, colours, raw, names, size, max(chosen.minibatches))
            for network, colours in zip(networks, normalise, strict=True)
        ]
        columns["batch"].append(np.stack([_ratio(grams, n, max(chosen.minibatches), _unbiased) for n in chosen.minibatches]))
        columns["biased"].append(np.stack([_ratio(grams, n, max(chosen.minibatches), _biased) for n in chosen.minibatches]))
        columns["count"].append(np.stack([_ratio(grams, chosen.minibatches[0], count, _unbiased) for count in chosen.images]))
    values = {name: np.stack(parts).astype(np.float32) for name, parts in columns.items()}
    values |= {"minibatches": np.array(chosen.minibatches), "images": np.array(chosen.images), "layers": pack(names)}
    provenance = place.provenance(
        __name__,
        [settings.data, chosen, list(settings.sweep_models)],
        images=digest([*hashes]),
        inputs=inputs,
        libraries=LIBRARIES,
    )
    store.write_arrays(place.path("sweep"), SWEEP, values, provenance)


def _order(name: str) -> tuple[int, int]:
    block, kind = name.split(".", 1)
    return int(block), TYPES.index(kind)


@torch.inference_mode()
def _grams(network: nn.Module, normalise: nn.Module, pixels: Tensor, names: list[str], batch: int, block: int) -> list[Tensor]:
    """Gram matrices of the named layers over consecutive blocks of images: per layer (images / block, block, block)."""
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    layers = {name: module for name, module in named_layers(network).items() if name in kept}
    with tapped(layers, lambda name, output: kept[name].append(output.flatten(1).clone())):
        for part in pixels.split(batch):
            network.forward_features(normalise(part.float() / 255))
    return [hsic.gram(torch.cat(kept.pop(name)).unflatten(0, (-1, block)))[0] for name in names]


def _ratio(grams: list[list[Tensor]], n: int, images: int, hsic_of: Callable[[Tensor, Tensor], Tensor]) -> NDArray[np.float64]:
    """Minibatch CKA (eq. 2) of each layer over the first images, in minibatches of n."""
    out = []
    for a, b in zip(*grams, strict=True):
        x, y = (_minibatches(g, n)[: images // n] for g in (a, b))
        out.append((hsic_of(x, y).mean() / (hsic_of(x, x).mean() * hsic_of(y, y).mean()).sqrt()).item())
    return np.array(out)


def _minibatches(grams: Tensor, n: int) -> Tensor:
    """(blocks, m, m) to (blocks m / n, n, n): a smaller minibatch's Gram is a diagonal block of a larger one's."""
    blocks, m, _ = grams.shape
    cells = grams.reshape(blocks, m // n, n, m // n, n)
    return torch.stack([cells[:, i, :, i] for i in range(m // n)], 1).flatten(0, 1)


def _unbiased(x: Tensor, y: Tensor) -> Tensor:
    """HSIC1 of pairs of Grams: (k, n, n) twice to (k,)."""
    n = x.shape[-1]
    return (hsic.u_centre(x, torch.float64) * hsic.u_centre(y, torch.float64)).sum(-1) * (2 / (n * (n - 3)))


def _biased(x: Tensor, y: Tensor) -> Tensor:
    """HSIC0 (Gretton et al., 2005), whose bias depends on the minibatch size: the control to Fig. A1."""
    n = x.shape[-1]
    p, q = (
        g - g.mean(-1, keepdim=True) - g.mean(-2, keepdim=True) + g.mean((-2, -1), keepdim=True)
        for g in (x.double(), y.double())
    )
    return (p * q).sum((-2, -1)) / (n - 1) ** 2
