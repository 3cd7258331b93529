"""Invariance: how far a model's features move when the image is mirrored or one factor of a composed scene changes."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from harness.artifacts import store
from harness.artifacts.layout import Layout
from harness.artifacts.provenance import digest
from harness.artifacts.tables import INVARIANCE, pack
from harness.data.changes import changed, changes_of
from harness.maths.invariance import Moved, between, moved
from harness.models.build import normalisation, normaliser
from harness.models.represent import represent
from harness.params.models import Embeddings
from harness.stages import summary
from harness.stages.networks import load_network
from harness.stages.place import Place

LIBRARIES = ("torch", "timm", "kornia", "numpy")


def run(place: Place, model: str, *, device: str = "cpu") -> None:
    """Make invariance/<model>: distances between features of images and of the same images with one thing changed.

    The images are those that CKA is measured on, whose features the bank has. Of embeddings, whose network is elsewhere, there
    are no changed images: their artifact has no changes.
    """
    settings = place.settings
    size, data, weights = settings.extract, settings.data, place.params.weights(model, place.profile)
    if isinstance(weights, Embeddings):
        store.write_arrays(place.path("invariance", model), INVARIANCE, _nothing(), place.provenance(__name__, [weights]))
        return
    architecture = place.params.architecture(model, place.profile)
    network, known = load_network(place, model)
    colours = normalisation(weights, data)
    normalise = normaliser(*colours).to(device)
    bank = summary.compared(place, model)
    features, layout = bank["validation"][: size.images], Layout.of(bank)
    # Between the images as they are, which all changes are held against.
    distances = {token: [between(part) for part in _by_depth(layout, token, features)] for token in layout.tokens}
    changes = changes_of(data)
    columns: dict[str, list[NDArray[np.generic]]] = {"moved": [], "nearest": [], "by_block": []}
    others: list[NDArray[np.float64]] = []
    for change in tqdm(changes, desc=model, unit="change", disable=not sys.stderr.isatty()):
        source = changed(data, "validation", size.images, size.seed, change)
        after = [part.features for part in represent(network, normalise, source, size.batch, device=device)]
        found = [_moved(layout, token, features, np.concatenate(after), distances[token]) for token in layout.tokens]
        columns["moved"].append(np.stack([of[-1].moved / of[-1].others.mean() for of in found]).astype(np.float16))
        columns["nearest"].append(np.stack([of[-1].nearer == 0 for of in found]).astype(np.uint8))
        ratios = [[one.moved.mean() / one.others.mean() for one in of] for of in found]
        columns["by_block"].append(np.array(ratios, np.float32))
        others = [of[-1].others / of[-1].others.mean() for of in found]
    arrays = {name: np.stack(parts) for name, parts in columns.items()}
    arrays |= {"others": np.stack(others).astype(np.float16), "changes": pack(changes), "tokens": pack(layout.tokens)}
    provenance = place.provenance(
        __name__,
        [architecture, data, size, colours],
        images=digest(bank["validation_image"][: size.images].tolist()),
        weights=known.sha256,
        inputs={f"checkpoints/{model}": known.sha256, f"summaries/{model}": summary.sha256(place, model)},
        libraries=LIBRARIES,
    )
    store.write_arrays(place.path("invariance", model), INVARIANCE, arrays, provenance)


def _by_depth(layout: Layout, token: str, features: NDArray[np.float16]) -> list[NDArray[np.float16]]:
    """A token's features (n, width) after each block and, last, after the final norm."""
    return [features[:, layout.at(token, depth)] for depth in range(len(layout.widths))]


def _moved(
    layout: Layout,
    token: str,
    features: NDArray[np.float16],
    after: NDArray[np.float16],
    distances: list[NDArray[np.float64]],
) -> list[Moved]:
    """What a token's features do, by depth. distances: between the images, by depth."""
    parts = (_by_depth(layout, token, of) for of in (features, after))
    return [moved(*part) for part in zip(*parts, distances, strict=True)]


def _nothing() -> dict[str, NDArray[np.generic]]:
    axes = {"moved": 3, "others": 2, "nearest": 3, "by_block": 3}
    empty = {name: np.zeros((0,) * n, INVARIANCE.columns[name].dtype) for name, n in axes.items()}
    return empty | {"changes": pack([]), "tokens": pack([])}
