"""Extract: one forward of a model over the profile's images. It keeps Gram matrices and features for all later stages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.layout import Layout
from harness.artifacts.provenance import digest
from harness.artifacts.store import ArrayWriter
from harness.artifacts.tables import BANK, EMBEDDINGS, pack
from harness.data import images
from harness.data.images import Images
from harness.models import checkpoint
from harness.models.build import Channels, build, normalisation, normaliser
from harness.models.layers import named_layers
from harness.models.represent import Representation, from_embeddings, represent
from harness.params.models import Embeddings
from harness.params.profile import Architecture, ExtractParams
from harness.stages import summary
from harness.stages.place import Place

LIBRARIES = ("torch", "timm", "kornia", "numpy", "scikit-learn")


class _Origin(NamedTuple):
    """What a bank is made of: a network, or embeddings of the images.

    see: a split, its images, which of them and the minibatch of Grams, if any, to what the network gave, batch by batch.
    sha256: of the checkpoint.
    """

    see: Callable[[str, Images, slice, int | None], Iterator[Representation]]
    layers: list[str]
    architecture: Architecture | None
    colours: tuple[Channels, Channels]
    sha256: str


def run(place: Place, model: str, *, device: str = "cpu") -> None:
    """Make banks/<model>, and summaries/<model>, which shows whether the bank has changed.

    The summary ships and the bank does not. A stage that reads the bank extracts it again (summary.py).
    """
    write_bank(place, model, device=device)
    summary.keep(place, model, store.read_arrays(place.path("banks", model), BANK))


def write_bank(place: Place, model: str, *, compared: str = "", device: str = "cpu") -> None:
    """Make banks/<model>: the first images' Grams of every layer, and every image's GAP features and, where there are, CLS.

    compared: with the digest of the bank's images, make compared/<model> alone, which has the images of the Grams and no
    others: all that a comparison reads, for a twelfth of the forwards.
    """
    settings = place.settings
    size = settings.extract
    if compared:
        size = size.model_copy(update={"bank": 0, "queries": size.images})
    path = place.path("compared" if compared else "banks", model)
    weights = place.params.weights(model, place.profile)
    origin = _embedded(place, model, weights) if isinstance(weights, Embeddings) else _network(place, model, device)
    validation = images.load(settings.data, "validation", size.queries, size.seed)
    train = images.load(settings.data, "train", size.bank, size.seed)
    parts = (
        ("validation", validation, slice(0, size.images), size.minibatch),
        ("validation", validation, slice(size.images, size.queries), None),
        ("train", train, slice(0, size.bank), None),
    )
    if not compared:
        refuse_classes(train.label, validation.label)
    batches = ((split, batch) for split, *part in parts for batch in origin.see(split, *part))
    # The first batch says what there is to keep.
    first = next(batches)
    layout, layers = first[1].layout, [*origin.layers, "pixels"]
    text = {"layers": pack(layers), "tokens": pack(layout.tokens)}
    shapes = bank_shapes(size, len(layers), layout) | {name: column.shape for name, column in text.items()}
    norm = np.zeros(len(layers))
    seen: dict[str, list[NDArray[np.int64]]] = {"train": [], "validation": []}
    bar = tqdm(total=size.queries + size.bank, unit="image", desc=model, disable=not sys.stderr.isatty())
    with bar, ArrayWriter(path, BANK, shapes) as out:
        for name, column in text.items():
            out.append(name, column)
        out.append("widths", np.array(layout.widths, np.int64))
        for split, batch in chain([first], batches):
            out.append(split, batch.features)
            seen[split].append(images.hashes(batch.pixels))
            if batch.grams is not None and batch.norm is not None:
                out.append("gram", batch.grams)
                norm += batch.norm
            bar.update(len(batch.features))
        found = {split: np.concatenate([np.empty(0, np.int64), *parts]) for split, parts in seen.items()}
        refuse_duplicates(found["train"], found["validation"])
        out.append("norm", norm / size.images)
        for split, source in (("train", train), ("validation", validation)):
            out.append(f"{split}_label", source.label)
            out.append(f"{split}_image", found[split])
        listed = {split: hashes.tolist() for split, hashes in found.items()}
        provenance = place.provenance(
            __name__,
            [origin.architecture, settings.data, settings.extract, origin.colours],
            images=compared or digest(listed),
            weights=origin.sha256,
            inputs={f"checkpoints/{model}": origin.sha256},
            libraries=LIBRARIES,
        )
        out.finish(provenance)


def _network(place: Place, model: str, device: str) -> _Origin:
    settings, architecture = place.settings, place.params.architecture(model, place.profile)
    network = build(architecture.name, **architecture.options)
    weights = checkpoint.load(place.path("checkpoints", model), network, place.precision(model))
    colours = normalisation(place.params.weights(model, place.profile), settings.data)
    normalise = normaliser(*colours).to(device)

    def see(_: str, listed: Images, rows: slice, minibatch: int | None) -> Iterator[Representation]:
        part = listed.part(rows.start, rows.stop)
        return represent(network, normalise, part, settings.extract.batch, minibatch=minibatch, device=device)

    return _Origin(see, list(named_layers(network)), architecture, colours, weights.sha256)


def _embedded(place: Place, model: str, weights: Embeddings) -> _Origin:
    settings, path = place.settings, place.path("checkpoints", model)
    found = store.read_arrays(path, EMBEDDINGS)
    colours = (settings.data.mean, settings.data.std)
    normalise = normaliser(*colours)
    step = f"python -m harness images --profile {place.profile}, and embed what it writes, in that order"

    def see(split: str, listed: Images, rows: slice, minibatch: int | None) -> Iterator[Representation]:
        known = found[f"{split}_image"]
        if len(known) != len(listed):
            seen, expected = f"{len(known)} images", f"the profile's {len(listed)}"
            raise InvalidInput(weights.path, field=split, seen=seen, expected=expected, next_step=step)
        start = rows.start
        part, values = listed.part(rows.start, rows.stop), found[split][rows]
        for batch in from_embeddings(values, normalise, part, settings.extract.batch, minibatch):
            other = np.flatnonzero(images.hashes(batch.pixels) != known[start : start + len(batch.pixels)])
            if len(other):
                field, seen = f"{split}_image, row {start + other[0]}", f"{known[start + other[0]]}, another image"
                raise InvalidInput(weights.path, field=field, seen=seen, expected="the profile's image", next_step=step)
            start += len(batch.pixels)
            yield batch

    return _Origin(see, [], None, colours, found.sha256)


def bank_shapes(size: ExtractParams, layers: int, layout: Layout) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a bank but the names in it. layers: the network's and the pixels."""
    pairs = size.minibatch * (size.minibatch - 1) // 2
    return {
        "gram": (size.images // size.minibatch, layers, pairs),
        "norm": (layers,),
        "widths": (len(layout.widths),),
        "train": (size.bank, layout.columns),
        "validation": (size.queries, layout.columns),
        "train_label": (size.bank,),
        "validation_label": (size.queries,),
        "train_image": (size.bank,),
        "validation_image": (size.queries,),
    }


def refuse_classes(train: NDArray[np.int64], validation: NDArray[np.int64]) -> None:
    """Raise InvalidInput unless both lists hold the same classes, and more than one."""
    classes, histogram = set(train.tolist()), dict(zip(*_counts(validation), strict=True))
    if len(histogram) < 2 or classes != set(histogram):
        lacking = sorted(classes ^ set(histogram))
        seen = f"images per class {histogram}, in one list only {lacking}"
        raise InvalidInput("extract", field="validation classes", seen=seen, expected=f"all of {sorted(classes)}, two or more")


def refuse_duplicates(train: NDArray[np.int64], validation: NDArray[np.int64]) -> None:
    """Raise InvalidInput when a validation image comes twice or is a training image: hashes of the pixels, (m,) and (n,)."""
    values, count = np.unique(validation, return_counts=True)
    if (count > 1).any():
        pairs = [np.flatnonzero(validation == value)[:2].tolist() for value in values[count > 1][:5]]
        seen = f"{int((count > 1).sum())} images more than once, first {pairs}"
        raise InvalidInput("extract", field="validation images", seen=seen, expected="each image once")
    common = np.isin(validation, train)
    if common.any():
        seen = f"{int(common.sum())} also in the training bank, first {np.flatnonzero(common)[:5].tolist()}"
        raise InvalidInput("extract", field="validation images", seen=seen, expected="no training image")


def _counts(label: NDArray[np.int64]) -> tuple[list[Any], list[Any]]:
    values, count = np.unique(label, return_counts=True)
    return values.tolist(), count.tolist()
