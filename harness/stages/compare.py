"""Compare: a model with the references, by minibatch CKA of every layer pair and by further similarity measures."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Self

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
# In the place of a token: what a network hands on, which for embeddings is all that there is.
PRE_LOGITS = "pre-logits"


@dataclass(frozen=True, eq=False)
class Compared:
    """A model's bank, and its nearest neighbours and HSIC, which all comparisons with it need and which are computed once.

    images: how many are compared. k: nearest neighbours of each. subsets: of the images, for debiased CKA.
    """

    bank: store.Arrays
    images: int
    k: int
    subsets: int
    _near: dict[str, list[NDArray[np.intp]]] = field(default_factory=dict, repr=False)
    _own: dict[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, bank: store.Arrays, settings: Profile) -> Self:
        """A bank as a profile's models are compared."""
        chosen = settings.similarity
        return cls(bank, settings.extract.images, chosen.k, chosen.subsets)

    @property
    def layout(self) -> Layout:
        """Where the bank has which features."""
        return Layout.of(self.bank)

    def features(self, token: str) -> list[NDArray[np.float32]]:
        """(n, width) of a token after each block; of PRE_LOGITS, these alone."""
        known, layout = self.bank["validation"][: self.images], self.layout
        if token == PRE_LOGITS:
            return [layout.final(known)]
        return [np.asarray(known[:, layout.at(token, depth)], np.float32) for depth in range(len(layout.widths) - 1)]

    def neighbours(self, token: str) -> list[NDArray[np.intp]]:
        """(n, k) for each of the features."""
        if token not in self._near:
            self._near[token] = [similarity.neighbours(one, self.k) for one in self.features(token)]
        return self._near[token]

    def own(self, token: str) -> NDArray[np.float64]:
        """(subset, feature): HSIC1 of each of the features with itself."""
        if token not in self._own:
            parts = [[one[i :: self.subsets] for one in self.features(token)] for i in range(self.subsets)]
            self._own[token] = np.array([[similarity.hsic1([one], [one])[0, 0] for one in part] for part in parts])
        return self._own[token]


def run(place: Place, model: str) -> None:
    """Make cka/<model>, similarity/<model> and final/<model>: the model's comparisons with each of its references.

    The first two have none where it or the reference is embeddings, which have no layers.

    A pair of references is compared once, with the later one of the two as the model.
    """
    settings = place.settings
    own = Compared.of(summary.compared(place, model), settings)
    inputs = {f"summaries/{model}": summary.sha256(place, model)}
    pairs: dict[str, dict[str, dict[str, NDArray[np.generic]]]] = {"cka": {}, "similarity": {}, "final": {}}
    for reference in tqdm(place.params.compared(model, place.profile), desc=model, disable=not sys.stderr.isatty()):
        other = Compared.of(summary.compared(place, reference), settings)
        refuse_other_images("compare", {model: own.bank.provenance, reference: other.bank.provenance})
        inputs[f"summaries/{reference}"] = summary.sha256(place, reference)
        for kind, columns in pair(own, other, settings.extract.minibatch).items():
            pairs[kind][reference] = columns
    for schema in (CKA, SIMILARITY, FINAL):
        parameters: list[object] = [settings.extract.minibatch] if schema is CKA else [own.images, settings.similarity]
        provenance = place.provenance(__name__, parameters, images=own.bank.provenance.images, inputs=inputs)
        store.write_pairs(place.path(schema.kind, model), schema, pairs[schema.kind], provenance)


def pair(a: Compared, b: Compared, minibatch: int) -> dict[str, dict[str, NDArray[np.generic]]]:
    """The columns of each kind of comparison of two models; of embeddings, of pre-logits alone."""
    made = {"final": final_features(a, b)}
    if min(len(a.layout.widths), len(b.layout.widths)) > 1:
        made["similarity"] = second_opinions(a, b)
        made["cka"] = layer_pairs(a.bank, b.bank, minibatch)
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


def second_opinions(a: Compared, b: Compared) -> dict[str, NDArray[np.generic]]:
    """The columns of a similarity artifact, of both models' CLS and GAP features after each block."""
    tokens = [token for token in a.layout.tokens if token in b.layout.tokens]
    columns: dict[str, list[NDArray[np.generic]]] = {name: [] for name in ("common", "each", "self_a", "self_b")}
    for token in tokens:
        near_a, near_b = a.neighbours(token), b.neighbours(token)
        same = zip(*_same_depth(len(near_a), len(near_b)), strict=True)
        common = np.stack([similarity.in_common(near_a[i], near_b[j]) for i, j in same])
        columns["common"].append(common.astype(np.uint8))
        own_a, own_b = a.own(token), b.own(token)
        columns["each"].append(_each(_cross(a, b, token), own_a, own_b))
        columns["self_a"].append(own_a.astype(np.float32))
        columns["self_b"].append(own_b.astype(np.float32))
    return {name: np.stack(parts) for name, parts in columns.items()} | {"tokens": pack(tokens), "k": np.array([a.k])}


def final_features(a: Compared, b: Compared) -> dict[str, NDArray[np.generic]]:
    """The columns of a final artifact, of both models' pre-logits: the final CLS token, or the pooled maps."""
    common = similarity.in_common(a.neighbours(PRE_LOGITS)[0], b.neighbours(PRE_LOGITS)[0])
    values = {"cross": _cross(a, b, PRE_LOGITS)[:, 0], "self_a": a.own(PRE_LOGITS), "self_b": b.own(PRE_LOGITS)}
    return {name: value.ravel().astype(np.float32) for name, value in values.items()} | {
        "common": common.astype(np.uint8),
        "k": np.array([a.k]),
    }


def _cross(a: Compared, b: Compared, token: str) -> NDArray[np.float64]:
    """(subset, block of a, block of b): HSIC1 of a token of two models."""
    x, y = a.features(token), b.features(token)
    parts = range(a.subsets)
    return np.stack([similarity.hsic1(*([f[i :: a.subsets] for f in side] for side in (x, y))) for i in parts])


def _each(cross: NDArray[np.float64], own_a: NDArray[np.float64], own_b: NDArray[np.float64]) -> NDArray[np.float16]:
    """CKA of each unit by itself, (..., a, b), from HSIC1 (..., a, b), (..., a), (..., b); 0 for a dead layer."""
    bottom = np.sqrt(own_a[..., :, None] * own_b[..., None, :])
    return np.divide(cross, bottom, out=np.zeros_like(cross), where=bottom > 0).astype(np.float16)


def _same_depth(a: int, b: int) -> tuple[list[int], list[int]]:
    """For each block of the shallower network, the two networks' blocks at that share of their depths."""
    fewest = min(a, b)
    shares = [i / max(fewest - 1, 1) for i in range(fewest)]
    return [round(share * (a - 1)) for share in shares], [round(share * (b - 1)) for share in shares]


def _dead(own: NDArray[np.float64], norm: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.sqrt(np.maximum(own.mean(0), 0)) <= DEAD * norm
