"""Drift: similarity of a model's final features to each reference, epoch by epoch of its fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.finetuning_tables import DRIFT, TRACE
from harness.artifacts.layout import Layout
from harness.artifacts.tables import pack
from harness.maths import similarity
from harness.stages import summary
from harness.stages.place import Place

# What every snapshot is compared with beside the references.
OWN = ("start", "end")


def run(place: Place, model: str) -> None:
    """Make drift/<model>: debiased CKA, over disjoint subsets of the images, of every snapshot's final features with those of
    its start and its end, and of each reference as it was pre-trained.

    Raises InvalidInput for a trace that lacks an epoch, or is of other images than the banks.
    """
    settings, path = place.settings, place.path("trace", model)
    trace = store.read_arrays(path, TRACE)
    inputs = {f"trace/{model}": trace.sha256}
    epochs = settings.finetune.epochs if settings.finetune else 0
    if len(trace["features"]) != epochs + 1:
        seen, expected = f"{len(trace['features'])} snapshots", f"{epochs + 1}: the start and one after each epoch"
        raise InvalidInput(path, field="features", seen=seen, expected=expected, next_step=store.REBUILD)
    snapshots = list(np.asarray(trace["features"], np.float32))
    others = dict(zip(OWN, (snapshots[0], snapshots[-1]), strict=True))
    for name in settings.references:
        bank = summary.compared(place, name)
        inputs[f"summaries/{name}"] = summary.sha256(place, name)
        n = len(trace["image"])
        if not np.array_equal(bank["validation_image"][:n], trace["image"]):
            seen = f"the first {n} images of {place.path('banks', name)} are others"
            raise InvalidInput(path, field="image", seen=seen, expected="the bank's, in its order", next_step=store.REBUILD)
        others[name] = Layout.of(bank).final(bank["validation"][:n])
    values = drifts(snapshots, others, settings.similarity.subsets)
    provenance = place.provenance(__name__, [settings.similarity.subsets, list(settings.references)], inputs=inputs)
    store.write_arrays(place.path("drift", model), DRIFT, values, provenance)


def drifts(
    snapshots: Sequence[NDArray[np.float32]], others: Mapping[str, NDArray[np.float32]], subsets: int
) -> dict[str, NDArray[np.generic]]:
    """The columns of a drift artifact. snapshots: (n, width) each. others: (n, any width) of the same images, by name."""
    columns: dict[str, list[NDArray[np.float64]]] = {"cross": [], "self_snapshot": [], "self_to": []}
    for i in range(subsets):
        one, other = [x[i::subsets] for x in snapshots], [x[i::subsets] for x in others.values()]
        columns["cross"].append(similarity.hsic1(one, other))
        columns["self_snapshot"].append(np.diagonal(similarity.hsic1(one, one)))
        columns["self_to"].append(np.diagonal(similarity.hsic1(other, other)))
    return {name: np.stack(parts).astype(np.float32) for name, parts in columns.items()} | {"to": pack(list(others))}
