"""Extract: one forward of a model over the profile's images, and what every comparison needs of it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from harness.artifacts.errors import InvalidInput
from harness.artifacts.params import ExtractParams
from harness.artifacts.provenance import digest
from harness.artifacts.store import ArrayWriter
from harness.artifacts.tables import BANK, TYPES, pack
from harness.data import images
from harness.models import checkpoint
from harness.models.build import build, normaliser
from harness.models.represent import represent
from harness.stages.place import Place

LIBRARIES = ("torch", "timm", "kornia", "numpy", "scikit-learn")


def run(place: Place, model: str, *, device: str = "cpu") -> None:
    """Make banks/<model>: the first images' Grams of every layer, and every image's CLS and GAP features."""
    settings, architecture = place.settings, place.params.architecture(model, place.profile)
    size = settings.extract
    network = build(architecture.name, **architecture.options)
    weights = checkpoint.load(place.path("checkpoints", model), network, place.precision(model))
    normalise = normaliser(settings.data.mean, settings.data.std).to(device)
    validation = images.load(settings.data, "validation", size.queries, size.seed)
    train = images.load(settings.data, "train", size.bank, size.seed)
    refuse_classes(train.label, validation.label)
    depth, width = len(network.blocks), network.embed_dim
    shapes = bank_shapes(size, depth, width)
    layers = shapes["norm"][0]
    names = pack([f"{i}.{kind}" for i in range(depth) for kind in TYPES] + ["pixels"])
    norm = np.zeros(layers)
    seen: dict[str, list[NDArray[np.int64]]] = {"train": [], "validation": []}
    bar = tqdm(total=size.queries + size.bank, unit="image", desc=model, disable=not sys.stderr.isatty())
    with bar, ArrayWriter(place.path("banks", model), BANK, shapes | {"layers": names.shape}) as out:
        out.append("layers", names)
        for split, part, minibatch in (
            ("validation", validation.part(0, size.images), size.minibatch),
            ("validation", validation.part(size.images, size.queries), None),
            ("train", train, None),
        ):
            for batch in represent(network, normalise, part, size.batch, minibatch=minibatch, device=device):
                out.append(split, batch.features)
                seen[split].append(images.hashes(batch.pixels))
                if batch.grams is not None and batch.norm is not None:
                    out.append("gram", batch.grams)
                    norm += batch.norm
                bar.update(len(batch.features))
        found = {split: np.concatenate(parts) for split, parts in seen.items()}
        refuse_duplicates(found["train"], found["validation"])
        out.append("norm", norm / size.images)
        for split, source in (("train", train), ("validation", validation)):
            out.append(f"{split}_label", source.label)
            out.append(f"{split}_image", found[split])
        listed = {split: hashes.tolist() for split, hashes in found.items()}
        provenance = place.provenance(
            __name__,
            [architecture, settings.data, size],
            images=digest(listed),
            weights=weights.sha256,
            inputs={f"checkpoints/{model}": weights.sha256},
            libraries=LIBRARIES,
        )
        out.finish(provenance)


def bank_shapes(size: ExtractParams, depth: int, width: int) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a bank but the layers' names, of a network with `depth` blocks of `width` features."""
    layers, pairs, tokens = depth * len(TYPES) + 1, size.minibatch * (size.minibatch - 1) // 2, 2
    return {
        "gram": (size.images // size.minibatch, layers, pairs),
        "norm": (layers,),
        "train": (size.bank, tokens, depth + 1, width),
        "validation": (size.queries, tokens, depth + 1, width),
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
