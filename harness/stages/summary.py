"""A bank in few numbers. What is measured from a bank depends on these, not on its last bits.

Processors of another instruction set round a forward pass otherwise, and code that is only written otherwise has another hash.
Neither makes CKA, k-NN or probes that were measured stale; a bank that really moved does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.layout import Layout
from harness.artifacts.store import Arrays
from harness.artifacts.tables import SUMMARY, pack, unpack
from harness.stages.place import Place

# A part whose root mean square, or whose sample, moves by more of the former is another one. Rounding moves them by 3e-5.
TOLERANCE = 1e-3
SAMPLE = 32


def keep(place: Place, model: str, bank: Arrays) -> None:
    """Make summaries/<model> of banks/<model>: of each layer's Grams and each token's features at each depth, some values.

    One that lies there stays as it is if it is of the same weights, images and parameters, and within TOLERANCE: dvc.yaml lets
    it persist for that.
    """
    path = place.path("summaries", model)
    values = summary(bank)
    if not _stands(path, values, bank):
        store.write_arrays(path, SUMMARY, values, bank.provenance)


def sha256(place: Place, model: str) -> str:
    """The hash of a bank's summary, by which results name the bank: its own bytes depend on the processor that made it."""
    return store.read_arrays(place.path("summaries", model), SUMMARY).sha256


def summary(bank: Arrays) -> dict[str, NDArray[Any]]:
    """The arrays of a bank's summary, part by part in the bank's order."""
    names, rms, sample = [], [], []
    for name, part in _parts(bank):
        names.append(name)
        rms.append(np.sqrt(np.mean(part.astype(np.float64) ** 2)))
        sample.append(part.flat[np.linspace(0, part.size - 1, SAMPLE).astype(np.int64)].astype(np.float64))
    return {"parts": pack(names), "rms": np.array(rms), "sample": np.array(sample)}


def _parts(bank: Arrays) -> Iterator[tuple[str, NDArray[Any]]]:
    for i, layer in enumerate(unpack(bank["layers"])):
        yield f"gram {layer}", bank["gram"][:, i]
    layout = Layout.of(bank)
    for split in ("train", "validation"):
        for token in layout.tokens:
            for depth in range(len(layout.widths)):
                yield f"{split} {token} {depth}", bank[split][:, layout.at(token, depth)]


def _stands(path: Path, values: dict[str, NDArray[Any]], bank: Arrays) -> bool:
    if not path.is_file():
        return False
    try:
        old = store.read_arrays(path, SUMMARY)
    except InvalidInput:
        # It is an output: what cannot be read is made again.
        return False
    made, before = ((p.parameters, p.images, p.weights) for p in (bank.provenance, old.provenance))
    if made != before or not np.array_equal(old["parts"], values["parts"]):
        return False
    moved = np.abs(old["rms"] - values["rms"]), np.sqrt(((old["sample"] - values["sample"]) ** 2).mean(axis=1))
    return bool((np.maximum(*moved) <= TOLERANCE * old["rms"]).all())
