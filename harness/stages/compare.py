"""Compare: a model with the references, by minibatch CKA of every layer pair and by its second opinions."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from harness.artifacts import store
from harness.artifacts.layout import Layout, of_type, types_of
from harness.artifacts.provenance import refuse_other_images
from harness.artifacts.tables import BANK, CKA, FINAL, SIMILARITY, pack, unpack
from harness.data import draws
from harness.maths import cka, similarity
from harness.stages.place import Place

# Below this share of the activations' mean square, variation over images is the rounding of a constant: float32 carries
# about 1e-14 of it through a Gram matrix.
DEAD = 1e-10
# What is made of each pair, a folder each.
KINDS = ("cka", "similarity", "final")


def run(place: Place, model: str) -> None:
    """Make cka/<model>/<reference>, similarity/<model>/<reference> and final/<model>/<reference> for each reference that the
    model is compared with; the folder alone where it is embeddings, whose layers nobody has.

    A pair of references is compared once, with the later one of the two as the model.
    """
    own = store.read_arrays(place.path("banks", model), BANK)
    for kind in KINDS:
        place.path(kind, model, ending="").mkdir(parents=True, exist_ok=True)
    for reference in tqdm(place.params.compared(model, place.profile), desc=model, disable=not sys.stderr.isatty()):
        _pair(place, model, own, reference, store.read_arrays(place.path("banks", reference), BANK))


def _pair(place: Place, model: str, a: store.Arrays, reference: str, b: store.Arrays) -> None:
    refuse_other_images("compare", {model: a.provenance, reference: b.provenance})
    settings = place.settings
    n = settings.extract.minibatch
    inputs = {f"banks/{name}": bank.sha256 for name, bank in ((model, a), (reference, b))}

    chosen, images = settings.similarity, settings.extract.images
    provenance = place.provenance(__name__, [images, chosen], images=a.provenance.images, inputs=inputs)
    handed_on = final_features(a, b, images, chosen.k, chosen.subsets)
    store.write_arrays(place.path("final", model, reference), FINAL, handed_on, provenance)
    if len(a["widths"]) == 1:
        return
    seconds = second_opinions(a, b, images, chosen.k, chosen.subsets)
    store.write_arrays(place.path("similarity", model, reference), SIMILARITY, seconds, provenance)

    values = layer_pairs(a, b, n, settings.extract.seed)
    provenance = place.provenance(__name__, [n, settings.extract.seed], images=a.provenance.images, inputs=inputs)
    store.write_arrays(place.path("cka", model, reference), CKA, values, provenance)


def layer_pairs(a: store.Arrays, b: store.Arrays, n: int, seed: int) -> dict[str, NDArray[np.generic]]:
    """The columns of a CKA artifact: HSIC1 of all pairs, what the pixels explain, and CKA of all layers and by chance."""
    names_a, names_b = unpack(a["layers"])[:-1], unpack(b["layers"])[:-1]
    there = types_of(names_b)
    types = [kind for kind in types_of(names_a) if kind in there]
    of_a, of_b = ([of_type(names, kind) for kind in types] for names in (names_a, names_b))
    gram_a, gram_b = (bank["gram"].transpose(1, 0, 2) for bank in (a, b))
    order = np.stack([draws.permutation(seed, f"null/{i}", n) for i in range(gram_a.shape[1])])
    cross = cka.cross_hsic(gram_a, gram_b, n)
    null = cka.cross_hsic(gram_a[:-1], cka.permute_images(gram_b[:-1], order), n)
    self_a, self_b = cka.self_hsic(gram_a[:-1], n), cka.self_hsic(gram_b[:-1], n)
    pixels = cka.self_hsic(gram_a[-1:], n)[:, 0]
    dead_a, dead_b = (_dead(own, bank["norm"][:-1]) for own, bank in ((self_a, a), (self_b, b)))
    full, chance = (cka.minibatch_cka(both, self_a, self_b) for both in (cross[:, :-1, :-1], null))
    for matrix in (full, chance):
        matrix[dead_a], matrix[:, dead_b] = np.nan, np.nan
    values = {
        # Layers of one type: (type, minibatch, block of a, block of b), and (type, minibatch, block).
        "cross": np.stack([cross[:, i][:, :, j] for i, j in zip(of_a, of_b, strict=True)]),
        "self_a": np.stack([self_a[:, i] for i in of_a]),
        "self_b": np.stack([self_b[:, j] for j in of_b]),
        "pixels_a": np.stack([cross[:, i, -1] for i in of_a]),
        "pixels_b": np.stack([cross[:, -1, j] for j in of_b]),
        "pixels": pixels,
        "cka": full,
        "null": chance,
    }
    return {name: value.astype(np.float32) for name, value in values.items()} | {
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
    columns: dict[str, list[NDArray[np.generic]]] = {name: [] for name in SIMILARITY.columns if name != "tokens"}
    for token in tokens:
        x, y = (_blocks(bank, layout, token, images) for bank, layout in zip((a, b), layouts, strict=True))
        shared = similarity.mutual_neighbours(x, y, k)
        columns["mutual"].append(shared.mean(2, dtype=np.float64).astype(np.float32))
        columns["mutual_image"].append(shared[_same_depth(len(x), len(y))])
        parts = [tuple([layer[i::subsets] for layer in side] for side in (x, y)) for i in range(subsets)]
        columns["cross"].append(np.stack([similarity.hsic1(p, q) for p, q in parts]).astype(np.float32))
        columns["self_a"].append(np.stack([_own(p) for p, _ in parts]).astype(np.float32))
        columns["self_b"].append(np.stack([_own(q) for _, q in parts]).astype(np.float32))
        bottom = np.sqrt(np.outer(_own(x), _own(y)))
        columns["debiased"].append((similarity.hsic1(x, y) / bottom).astype(np.float32))
    return {name: np.stack(parts) for name, parts in columns.items()} | {"tokens": pack(tokens)}


def final_features(a: store.Arrays, b: store.Arrays, images: int, k: int, subsets: int) -> dict[str, NDArray[np.generic]]:
    """The columns of a final artifact, of what both models hand on: the CLS token, or of those without it the pooled maps."""
    x, y = (_final(bank, Layout.of(bank), images) for bank in (a, b))
    parts = [(x[i::subsets], y[i::subsets]) for i in range(subsets)]
    triples = [(similarity.hsic1([p], [q])[0, 0], _own([p])[0], _own([q])[0]) for p, q in parts]
    cross, self_a, self_b = np.array(triples, np.float32).T
    mutual = similarity.mutual_neighbours([x], [y], k)[0, 0]
    return {"mutual": mutual, "cross": cross, "self_a": self_a, "self_b": self_b}


def _blocks(bank: store.Arrays, layout: Layout, token: str, images: int) -> list[NDArray[np.float32]]:
    """(n, width) of each block; what the network hands on is no block."""
    features = bank["validation"][:images]
    return [np.asarray(features[:, layout.at(token, depth)], np.float32) for depth in range(len(layout.widths) - 1)]


def _final(bank: store.Arrays, layout: Layout, images: int) -> NDArray[np.float32]:
    return np.asarray(bank["validation"][:images, layout.at(layout.tokens[0], -1)], np.float32)


def _same_depth(a: int, b: int) -> tuple[list[int], list[int]]:
    """For each block of the shallower network, the two networks' blocks at that share of their depths."""
    fewest = min(a, b)
    shares = [i / max(fewest - 1, 1) for i in range(fewest)]
    return [round(share * (a - 1)) for share in shares], [round(share * (b - 1)) for share in shares]


def _own(x: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    return np.array([similarity.hsic1([layer], [layer])[0, 0] for layer in x])


def _dead(own: NDArray[np.float64], norm: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.sqrt(np.maximum(own.mean(0), 0)) <= DEAD * norm
