"""Compare: a model with the references, by minibatch CKA of every layer pair and by further similarity measures."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from harness.artifacts import store
from harness.artifacts.layout import Layout, of_type, types_of
from harness.artifacts.provenance import refuse_other_images
from harness.artifacts.tables import CKA, FINAL, SIMILARITY, pack, unpack
from harness.maths import cka, similarity
from harness.params.profile import Profile
from harness.stages import summary
from harness.stages.place import Place

# Below this share of the activations' mean square, variation over images is the rounding of a constant: float32 carries
# about 1e-14 of it through a Gram matrix.
DEAD = 1e-10


def run(place: Place, model: str) -> None:
    """Make cka/<model>, similarity/<model> and final/<model>: the model's comparisons with each of its references.

    The first two have none where it or the reference is embeddings, which have no layers.

    A pair of references is compared once, with the later one of the two as the model.
    """
    settings, chosen, images = place.settings, place.settings.similarity, place.settings.extract.images
    own = summary.compared(place, model)
    inputs = {f"summaries/{model}": summary.sha256(place, model)}
    pairs: dict[str, dict[str, dict[str, NDArray[np.generic]]]] = {"cka": {}, "similarity": {}, "final": {}}
    for reference in tqdm(place.params.compared(model, place.profile), desc=model, disable=not sys.stderr.isatty()):
        bank = summary.compared(place, reference)
        refuse_other_images("compare", {model: own.provenance, reference: bank.provenance})
        inputs[f"summaries/{reference}"] = summary.sha256(place, reference)
        for kind, columns in pair(own, bank, settings).items():
            pairs[kind][reference] = columns
    for schema in (CKA, SIMILARITY, FINAL):
        parameters: list[object] = [settings.extract.minibatch] if schema is CKA else [images, chosen]
        provenance = place.provenance(__name__, parameters, images=own.provenance.images, inputs=inputs)
        store.write_pairs(place.path(schema.kind, model), schema, pairs[schema.kind], provenance)


def pair(a: store.Arrays, b: store.Arrays, settings: Profile) -> dict[str, dict[str, NDArray[np.generic]]]:
    """The columns of each kind of comparison of two banks; for embeddings, of pre-logits alone."""
    chosen, images = settings.similarity, settings.extract.images
    made = {"final": final_features(a, b, images, chosen.k, chosen.subsets)}
    if min(len(a["widths"]), len(b["widths"])) > 1:
        made["similarity"] = second_opinions(a, b, images, chosen.k, chosen.subsets)
        made["cka"] = layer_pairs(a, b, settings.extract.minibatch)
    return made


def layer_pairs(a: store.Arrays, b: store.Arrays, n: int) -> dict[str, NDArray[np.generic]]:
    """The columns of a CKA artifact: HSIC1 of all pairs, HSIC1 with the pixels, and CKA of all layers."""
    names_a, names_b = unpack(a["layers"])[:-1], unpack(b["layers"])[:-1]
    there = types_of(names_b)
    types = [kind for kind in types_of(names_a) if kind in there]
    of_a, of_b = ([of_type(names, kind) for kind in types] for names in (names_a, names_b))
    gram_a, gram_b = (bank["gram"].transpose(1, 0, 2) for bank in (a, b))
    cross = cka.cross_hsic(gram_a, gram_b, n)
    self_a, self_b = cka.self_hsic(gram_a[:-1], n), cka.self_hsic(gram_b[:-1], n)
    pixels = cka.self_hsic(gram_a[-1:], n)[:, 0]
    dead_a, dead_b = (_dead(own, bank["norm"][:-1]) for own, bank in ((self_a, a), (self_b, b)))
    full = cka.minibatch_cka(cross[:, :-1, :-1], self_a, self_b)
    full[dead_a], full[:, dead_b] = np.nan, np.nan
    # Layers of one type: (type, minibatch, block of a, block of b), and (type, minibatch, block).
    alike = np.stack([cross[:, i][:, :, j] for i, j in zip(of_a, of_b, strict=True)])
    own_a, own_b = np.stack([self_a[:, i] for i in of_a]), np.stack([self_b[:, j] for j in of_b])
    values = {
        "self_a": own_a,
        "self_b": own_b,
        "pixels_a": np.stack([cross[:, i, -1] for i in of_a]),
        "pixels_b": np.stack([cross[:, -1, j] for j in of_b]),
        "pixels": pixels,
    }
    return {name: value.astype(np.float32) for name, value in values.items()} | {
        "each": _each(alike, own_a, own_b),
        "cka": full.astype(np.float16),
        "dead_a": dead_a.astype(np.uint8),
        "dead_b": dead_b.astype(np.uint8),
        "types": pack(types),
        "layers_a": pack(names_a),
        "layers_b": pack(names_b),
    }


def second_opinions(a: store.Arrays, b: store.Arrays, images: int, k: int, subsets: int) -> dict[str, NDArray[np.generic]]:
    """The columns of a similarity artifact, of both models' CLS and GAP features after each block over the first images."""
    layouts = [Layout.of(bank) for bank in (a, b)]
    tokens = [token for token in layouts[0].tokens if token in layouts[1].tokens]
    columns: dict[str, list[NDArray[np.generic]]] = {name: [] for name in ("common", "each", "self_a", "self_b")}
    for token in tokens:
        x, y = (_blocks(bank, layout, token, images) for bank, layout in zip((a, b), layouts, strict=True))
        same = zip(*_same_depth(len(x), len(y)), strict=True)
        columns["common"].append(np.stack([_common(x[i], y[j], k) for i, j in same]))
        parts = [tuple([layer[i::subsets] for layer in side] for side in (x, y)) for i in range(subsets)]
        cross = np.stack([similarity.hsic1(p, q) for p, q in parts])
        own_a, own_b = (np.stack([_own(part[side]) for part in parts]) for side in (0, 1))
        columns["each"].append(_each(cross, own_a, own_b))
        columns["self_a"].append(own_a.astype(np.float32))
        columns["self_b"].append(own_b.astype(np.float32))
    return {name: np.stack(parts) for name, parts in columns.items()} | {"tokens": pack(tokens), "k": np.array([k])}


def final_features(a: store.Arrays, b: store.Arrays, images: int, k: int, subsets: int) -> dict[str, NDArray[np.generic]]:
    """The columns of a final artifact, of both models' pre-logits: the final CLS token, or the pooled maps."""
    x, y = (Layout.of(bank).final(bank["validation"][:images]) for bank in (a, b))
    parts = [(x[i::subsets], y[i::subsets]) for i in range(subsets)]
    triples = [(similarity.hsic1([p], [q])[0, 0], _own([p])[0], _own([q])[0]) for p, q in parts]
    cross, self_a, self_b = np.array(triples, np.float32).T
    return {"common": _common(x, y, k), "k": np.array([k]), "cross": cross, "self_a": self_a, "self_b": self_b}


def _each(cross: NDArray[np.float64], own_a: NDArray[np.float64], own_b: NDArray[np.float64]) -> NDArray[np.float16]:
    """CKA of each unit by itself, (..., a, b), from HSIC1 (..., a, b), (..., a), (..., b); 0 for a dead layer."""
    bottom = np.sqrt(own_a[..., :, None] * own_b[..., None, :])
    return np.divide(cross, bottom, out=np.zeros_like(cross), where=bottom > 0).astype(np.float16)


def _common(x: NDArray[np.float32], y: NDArray[np.float32], k: int) -> NDArray[np.uint8]:
    """How many of an image's k nearest neighbours two feature sets have in common: (n,)."""
    return np.round(k * similarity.mutual_neighbours([x], [y], k)[0, 0]).astype(np.uint8)


def _blocks(bank: store.Arrays, layout: Layout, token: str, images: int) -> list[NDArray[np.float32]]:
    """(n, width) of each block; the pre-logits are no block."""
    features = bank["validation"][:images]
    return [np.asarray(features[:, layout.at(token, depth)], np.float32) for depth in range(len(layout.widths) - 1)]


def _same_depth(a: int, b: int) -> tuple[list[int], list[int]]:
    """For each block of the shallower network, the two networks' blocks at that share of their depths."""
    fewest = min(a, b)
    shares = [i / max(fewest - 1, 1) for i in range(fewest)]
    return [round(share * (a - 1)) for share in shares], [round(share * (b - 1)) for share in shares]


def _own(x: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    return np.array([similarity.hsic1([layer], [layer])[0, 0] for layer in x])


def _dead(own: NDArray[np.float64], norm: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.sqrt(np.maximum(own.mean(0), 0)) <= DEAD * norm
