"""A bank's summary: a few of its numbers. Stages depend on the summary, not on the last bits of the bank.

Another instruction set rounds a forward pass differently, and rewritten code has another hash. Neither makes measured CKA, k-NN
or probes stale; a bank that changed by more than rounding does.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.layout import Layout
from harness.artifacts.store import Arrays
from harness.artifacts.tables import BANK, SUMMARY, pack, unpack
from harness.params.models import Embeddings
from harness.stages.device import chosen_device
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
    try:
        old = store.read_arrays(path, SUMMARY)
    except (InvalidInput, MissingArtifact):
        # It is an output: what is not there, or cannot be read, is made.
        old = None
    if old is None or not _stands(old, values, bank):
        store.write_arrays(path, SUMMARY, values, bank.provenance)


def bank(place: Place, model: str) -> Arrays:
    """The bank of a model's summary; extracted again where it is not there, since banks do not ship.

    Raises InvalidInput where the extracted bank does not have the summary.
    """
    return _bank(place, model, ("banks",))


def compared(place: Place, model: str) -> Arrays:
    """The part of a model's bank that comparisons read. Without the bank, only its first images are forwarded again.

    Raises InvalidInput where their Grams do not have the summary.
    """
    if isinstance(place.params.weights(model, place.profile), Embeddings):
        return bank(place, model)
    return _bank(place, model, ("banks", "compared"))


def _bank(place: Place, model: str, kinds: tuple[str, ...]) -> Arrays:
    """The first of these that lies there and is what the summary is of; otherwise the last of them, extracted again."""
    known = store.read_arrays(place.path("summaries", model), SUMMARY)
    for kind in kinds:
        path = place.path(kind, model)
        if path.is_file() and _made_from(found := store.read_arrays(path, BANK)) == _made_from(known):
            return found
    part = kind == "compared"
    # By its name: what is measured from a bank depends on the summary, not on the code that extracts.
    extract = importlib.import_module("harness.stages.extract")
    extract.write_bank(place, model, compared=known.provenance.images if part else "", device=chosen_device())
    found = store.read_arrays(path, BANK)
    if not _stands(known, summary(found, of_grams=part), found):
        seen, expected = "another bank than the one that was measured", "the same but for rounding"
        step = f"run dvc repro: {model} is extracted and measured anew"
        raise InvalidInput(path, field="summary", seen=seen, expected=expected, next_step=step)
    return found


def sha256(place: Place, model: str) -> str:
    """The hash of a bank's summary, which identifies the bank: its own bytes depend on the processor."""
    return store.read_arrays(place.path("summaries", model), SUMMARY).sha256


def summary(bank: Arrays, *, of_grams: bool = False) -> dict[str, NDArray[Any]]:
    """The arrays of a bank's summary, part by part in the bank's order. of_grams: of its Grams alone."""
    names, rms, sample = [], [], []
    for name, part in _parts(bank, of_grams):
        names.append(name)
        rms.append(np.sqrt(np.mean(part.astype(np.float64) ** 2)))
        sample.append(part.flat[np.linspace(0, part.size - 1, SAMPLE).astype(np.int64)].astype(np.float64))
    return {"parts": pack(names), "rms": np.array(rms), "sample": np.array(sample)}


def _parts(bank: Arrays, of_grams: bool) -> Iterator[tuple[str, NDArray[Any]]]:
    for i, layer in enumerate(unpack(bank["layers"])):
        yield f"gram {layer}", bank["gram"][:, i]
    if of_grams:
        return
    layout = Layout.of(bank)
    for split in ("train", "validation"):
        for token in layout.tokens:
            for depth in range(len(layout.widths)):
                yield f"{split} {token} {depth}", bank[split][:, layout.at(token, depth)]


def _made_from(arrays: Arrays) -> tuple[str, str, str]:
    """Everything that decides a bank, up to rounding."""
    made = arrays.provenance
    return made.parameters, made.images, made.weights


def _stands(old: Arrays, values: dict[str, NDArray[Any]], bank: Arrays) -> bool:
    """Whether the parts that there are now, the first of those that there were, are the same but for rounding."""
    names = unpack(values["parts"])
    n = len(names)
    if _made_from(bank) != _made_from(old) or unpack(old["parts"])[:n] != names:
        return False
    rms, sample = old["rms"][:n], old["sample"][:n]
    moved = np.abs(rms - values["rms"]), np.sqrt(((sample - values["sample"]) ** 2).mean(axis=1))
    return bool((np.maximum(*moved) <= TOLERANCE * rms).all())
