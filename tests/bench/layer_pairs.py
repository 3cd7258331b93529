"""CKA of all layer pairs of several models: our banks beside torch-cka and pytorch-cka, which forward every pair anew."""

from __future__ import annotations

import contextlib
import io
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from harness.data.images import Images
from harness.maths import cka
from harness.models.build import build, normaliser
from harness.models.layers import named_layers, tapped
from harness.models.represent import represent
from tests.bench.measure import Entry, Item, Measured

N = 32
BARE, BANKS, PAIRS = "bare forwards", "banks", "all pairs from banks"
Array = NDArray[np.float64]


def vit_b(images: int, batch: int, peer_minibatches: int) -> Item:
    """Four networks of the paper's size."""
    return _item(
        "vit_base_patch16_224", {}, 224, 4, images, batch, peer_minibatches, {"bare": 1.15, "torch-cka": 10, "pytorch-cka": 4}
    )


def embedded(images: int, peer_minibatches: int) -> Item:
    """Twelve networks of the embedded profile."""
    profile = yaml.safe_load(Path("params.yaml").read_text())["profiles"]["embedded"]
    vit, batch = profile["architectures"]["vit"], profile["extract"]["batch"]
    aims = {"bare": 1.5, "torch-cka": 250, "pytorch-cka": 15}
    return _item(vit["name"], vit["options"], vit["options"]["img_size"], 12, images, batch, peer_minibatches, aims)


def product() -> Item:
    """The product of two banks of 1,024 images, beside a float64 matrix product of the same library."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(84, 32, N * (N - 1) // 2)).astype(np.float32) for _ in range(2))
    x, y = rng.normal(size=(1024, 1024)), rng.normal(size=(1024, 1024))
    flop = {"cross_hsic": 2 * 84 * 84 * a.shape[1] * a.shape[2], "float64 matmul": 2 * 1024**3}

    def remarks(measured: Mapping[str, Measured]) -> list[str]:
        rate = {name: flop[name] / measured[name].wall / 1e9 for name in flop}
        share = rate["cross_hsic"] / rate["float64 matmul"]
        lines = [f"{name}: {value:.1f} GFLOP/s" for name, value in rate.items()]
        return [*lines, f"share of the matmul rate, the conversion to float64 included: {share:.2f}"]

    entries = (Entry("cross_hsic", lambda: cka.cross_hsic(a, b, N)), Entry("float64 matmul", lambda: x @ y))
    return Item("CKA from banks in hand: 84 x 84 layers, 32 minibatches of 32", entries, remarks)


def _item(
    name: str, options: Mapping[str, Any], side: int, models: int, images: int, batch: int, part: int, aims: Mapping[str, float]
) -> Item:
    networks = [build(name, seed=seed, **options) for seed in range(models)]
    normalise = normaliser([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    pixels = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), np.uint8)
    source = Images(np.zeros(images, np.int64), 1, lambda index: pixels[index])
    with torch.inference_mode():
        ready = normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    pairs = list(itertools.combinations(range(models), 2))
    batch = min(batch, images)
    kept: list[Array] = []

    @torch.inference_mode()
    def bare() -> None:
        for network in networks:
            for start in range(0, images, batch):
                part = torch.from_numpy(source.read(np.arange(start, start + batch)))
                network.forward_features(normalise(part.permute(0, 3, 1, 2).float() / 255))

    def banks() -> None:
        kept[:] = []
        for network in networks:
            seen = represent(network, normalise, source, batch, minibatch=N)
            kept.append(np.concatenate([one.grams for one in seen if one.grams is not None])[:, :-1].transpose(1, 0, 2))

    def compare() -> dict[tuple[int, int], Array]:
        if not kept:
            banks()
        selves = [cka.self_hsic(bank, N) for bank in kept]
        return {(i, j): cka.minibatch_cka(cka.cross_hsic(kept[i], kept[j], N), selves[i], selves[j]) for i, j in pairs}

    names = [f"blocks.{key.removesuffix('.block')}" for key in named_layers(networks[0])]
    peers, missing = _peers(networks[0], networks[1], ready[: part * N], names)
    scale = len(pairs) * images / (part * N)
    note = f"measured: 1 of {len(pairs)} pairs, {part} of {images // N} minibatches; times {scale:g}"
    entries = [Entry(BARE, bare), Entry(BANKS, banks), Entry(PAIRS, compare)]
    entries += [Entry(peer, run, scale, note) for peer, run in peers.items()]

    def remarks(measured: Mapping[str, Measured]) -> list[str]:
        ours = {kind: getattr(measured[BANKS], kind) + getattr(measured[PAIRS], kind) for kind in ("wall", "cpu")}
        wall, cpu = (getattr(measured[BANKS], kind) / getattr(measured[BARE], kind) for kind in ("wall", "cpu"))
        lines = [f"banks / bare forwards: {wall:.2f} wall, {cpu:.2f} cpu (aim at most {aims['bare']})"]
        wall, cpu = (ours[kind] / getattr(measured[BARE], kind) for kind in ("wall", "cpu"))
        lines += [f"banks and all pairs / bare forwards: {wall:.2f} wall, {cpu:.2f} cpu"]
        for peer in peers:
            wall, cpu = (getattr(measured[peer], kind) / ours[kind] for kind in ("wall", "cpu"))
            lines.append(f"{peer} / banks and all pairs: {wall:.1f} wall, {cpu:.1f} cpu (aim at least {aims[peer]:g})")
        chosen = list(range(0, len(names), len(names) // 8))
        grid = np.ix_(chosen, chosen)
        whole = _oracle(networks[0], networks[1], ready, batch, chosen)
        few = _oracle(networks[0], networks[1], ready[: part * N], N, chosen)
        compared = {"ours": (measured[PAIRS].result[0, 1], whole)} | {peer: (measured[peer].result, few) for peer in peers}
        for who, (values, expected) in compared.items():
            off = np.abs(values[grid] - expected).max()
            lines.append(f"{who}: at most {off:.1e} from eq. 1-3 as a float64 loop, {expected.size} layer pairs (aim 1e-6)")
        return lines

    title = (
        f"{len(pairs)} pairs of {models} x {name}, {len(names)} layers, {images} images in minibatches of {N}, batch {batch}"
    )
    return Item(title, entries, remarks, missing)


def _peers(
    a: nn.Module, b: nn.Module, inputs: Tensor, names: Sequence[str]
) -> tuple[dict[str, Callable[[], Array]], dict[str, str]]:
    loader = DataLoader(TensorDataset(inputs.clone()), batch_size=N)

    @torch.no_grad()
    def torch_cka() -> Array:
        from torch_cka import CKA

        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            peer = CKA(a, b, model1_name="a", model2_name="b", model1_layers=list(names), model2_layers=list(names))
            peer.compare(loader)
            # It never removes its hooks, and its rows are in the order in which the layers ran.
            for module in (*a.modules(), *b.modules()):
                module._forward_hooks.clear()
        rows, columns = ([list(seen).index(name) for name in names] for seen in (peer.model1_features, peer.model2_features))
        return np.asarray(peer.hsic_matrix, np.float64)[np.ix_(rows, columns)]

    def pytorch_cka() -> Array:
        from cka import compute_cka

        return np.asarray(compute_cka(a, b, loader, layers=list(names), device="cpu", progress=False)[0], np.float64)

    wanted = {"torch-cka": ("torch_cka", torch_cka, "0.21"), "pytorch-cka": ("cka", pytorch_cka, "1.1.3")}
    there = {peer: run for peer, (module, run, _) in wanted.items() if find_spec(module)}
    return there, {peer: f"pip install {peer}=={version}" for peer, (_, _, version) in wanted.items() if peer not in there}


@torch.inference_mode()
def _oracle(a: nn.Module, b: nn.Module, inputs: Tensor, batch: int, chosen: Sequence[int]) -> Array:
    """Eq. 1 to 3 term by term in float64, of the chosen layers of two networks."""
    grams = []
    for network in (a, b):
        layers = named_layers(network)
        kept: dict[str, list[Array]] = {list(layers)[i]: [] for i in chosen}
        wanted = {name: layers[name] for name in kept}
        with tapped(wanted, lambda name, output, kept=kept: kept[name].extend(map(_gram, output.flatten(1).split(N)))):
            for part in inputs.split(batch):
                network.forward_features(part)
        grams.append(list(kept.values()))
    x, y = grams
    own = [[np.mean([_hsic1(k, k) for k in layer]) for layer in side] for side in grams]
    cross = [[np.mean([_hsic1(*pair) for pair in zip(p, q, strict=True)]) for q in y] for p in x]
    return np.array(cross) / np.sqrt(np.outer(*own))


def _gram(features: Tensor) -> Array:
    wide = features.double().numpy()
    return np.asarray(wide @ wide.T)


def _hsic1(k: Array, l: Array) -> float:  # noqa: E741
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return float((np.trace(k @ l) + middle - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3)))
