"""Readings that many claims of one session share, kept in memory."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from harness.artifacts.image_tables import INVARIANCE, SAMPLES
from harness.artifacts.tables import AGREE, CKA, KNN, PROBE, SIMILARITY
from harness.readings.accuracy import Accuracy
from harness.readings.agreement import Agreement
from harness.readings.files import read_arrays, read_comparison
from harness.readings.invariance import Invariance
from harness.readings.pair import Pair
from harness.readings.probes import ProbeAccuracy
from harness.readings.samples import Samples


# A pair keeps its draws (16 MB), which every claim about it shares.
@lru_cache(maxsize=24)
def pair(path: Path, names: tuple[str, str], transposed: bool, deconfounded: bool) -> Pair:
    """CKA of two models, net of what the pixels explain where asked."""
    arrays = read_comparison(path, CKA.kind, names, transposed)
    pair = Pair.from_arrays(arrays, names=names, transposed=transposed)
    return pair.deconfounded() if deconfounded else pair


# Without draws it is small, and the null distribution asks for many.
@lru_cache(maxsize=512)
def pair_values(path: Path, names: tuple[str, str], transposed: bool, deconfounded: bool) -> Pair:
    """The same without draws."""
    return replace(pair.__wrapped__(path, names, transposed, deconfounded), draws=1)


# One layer type: a tenth of that, and the null distribution asks for many.
@lru_cache(maxsize=256)
def subsets(path: Path, names: tuple[str, str], transposed: bool, token: str, values_only: bool) -> Pair:
    """Debiased CKA of a token of two models."""
    arrays = read_comparison(path, SIMILARITY.kind, names, transposed)
    pair = Pair.from_subsets(arrays, token, names=names, transposed=transposed)
    return replace(pair, draws=1) if values_only else pair


@lru_cache(maxsize=256)
def agreement(path: Path, names: tuple[str, str], transposed: bool, values_only: bool) -> Agreement:
    """How alike two models' linear probes rank and answer."""
    arrays = read_comparison(path, AGREE.kind, names, transposed)
    found = Agreement.from_arrays(arrays, transposed=transposed)
    return replace(found, draws=1) if values_only else found


@lru_cache(maxsize=16)
def accuracy(path: Path) -> Accuracy:
    """20-NN accuracy."""
    return Accuracy.from_arrays(read_arrays(path, KNN.kind))


@lru_cache(maxsize=16)
def invariance(path: Path, values_only: bool) -> Invariance:
    """How far features move under changes of the image."""
    found = Invariance.from_arrays(read_arrays(path, INVARIANCE.kind))
    return replace(found, draws=1) if values_only else found


@lru_cache(maxsize=16)
def probes(path: Path, model: str) -> ProbeAccuracy:
    """Accuracy of a model's probes."""
    return ProbeAccuracy.from_arrays(read_arrays(path, PROBE.kind), model)


@lru_cache(maxsize=32)
def samples(path: Path, level: float | None, values_only: bool) -> Samples:
    """Images that are drawn from a model's features, at a level of noise on them."""
    found = Samples.from_arrays(read_arrays(path, SAMPLES.kind), level)
    return replace(found, draws=1) if values_only else found
