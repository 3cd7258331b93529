"""Fixtures: one per kind of artifact, and the models by family, for the source that the claims are read from."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from harness.artifacts import params as parameters
from harness.artifacts import store
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.params import Family, Params
from harness.artifacts.store import Arrays, Schema
from harness.artifacts.tables import CKA, KNN, SIMILARITY, SWEEP
from harness.evidence.accuracy import Accuracy
from harness.evidence.claim import Reading
from harness.evidence.published import Published
from harness.evidence.published import load as load_published
from harness.evidence.similarity import Measure, Neighbourhoods, Pair, Pairs, Sweep

# Relative, so that verdicts read the same in every checkout.
ROOT = Path(os.path.relpath(Path(__file__).resolve().parent.parent))


@pytest.fixture(scope="session")
def params() -> Params:
    """The project's params.yaml."""
    return parameters.load(ROOT / "params.yaml")


@pytest.fixture
def je(params: Params) -> list[str]:
    """The joint-embedding models."""
    return family(params, "je")


@pytest.fixture
def rec(params: Params) -> list[str]:
    """The reconstruction models."""
    return family(params, "rec")


@pytest.fixture
def untrained(params: Params) -> list[str]:
    """The untrained networks."""
    return family(params, "random")


@pytest.fixture
def cka(params: Params, reading: Reading) -> Pairs:
    """Two models' names to their minibatch CKA, the first one's layers in the rows."""

    def pair(a: str, b: str) -> Pair:
        path, transposed = find(ROOT, params, reading.source, "cka", a, b)
        note(reading, path, CKA)
        return _pair(path, (a, b), transposed)

    return pair


@pytest.fixture
def deconfounded(cka: Pairs) -> Pairs:
    """The same net of what the pixels explain."""
    return lambda a, b: cka(a, b).deconfounded()


@pytest.fixture
def mutual(params: Params, reading: Reading) -> Measure:
    """Two models' names to the nearest neighbours that they have in common."""

    def shared(a: str, b: str) -> Neighbourhoods:
        path, _ = find(ROOT, params, reading.source, "similarity", a, b)
        return Neighbourhoods.from_arrays(note(reading, path, SIMILARITY))

    return shared


@pytest.fixture
def cls(params: Params, reading: Reading) -> Measure:
    """Two models' names to the debiased CKA of their CLS tokens."""
    return _subsets(params, reading, "cls")


@pytest.fixture
def gap(params: Params, reading: Reading) -> Measure:
    """Two models' names to the debiased CKA of their mean patch tokens."""
    return _subsets(params, reading, "gap")


@pytest.fixture
def knn(params: Params, reading: Reading) -> Callable[[str], Accuracy]:
    """A model's name to the accuracy of its nearest neighbours."""

    def accuracy(model: str) -> Accuracy:
        check(params, reading.source, model)
        path = ROOT / "artifacts" / reading.source / "knn" / f"{model}.safetensors"
        note(reading, path, KNN)
        return _accuracy(path)

    return accuracy


@pytest.fixture
def sweep(params: Params, reading: Reading) -> Sweep:
    """CKA by minibatch size and number of images."""
    check(params, reading.source)
    return Sweep.from_arrays(note(reading, ROOT / "artifacts" / reading.source / "sweep.safetensors", SWEEP))


@pytest.fixture
def published(params: Params, reading: Reading) -> Callable[[str, str], Published]:
    """A stage's name and what it would measure to what the paper prints of it.

    Raises MissingArtifact where the source is a profile: that stage does not exist.
    """

    def printed(stage: str, what: str) -> Published:
        if reading.source != "published":
            check(params, reading.source)
            raise MissingArtifact(
                f"artifacts/{reading.source}/{stage}",
                f"the profile has not measured {what}",
                next_step=f"decide on the printed numbers with --source published, or write the stage {stage}",
            )
        path = ROOT / "claims" / "published.toml"
        numbers = load_published(path)
        reading.note(path.relative_to(ROOT), numbers.sha256)
        return numbers

    return printed


def family(params: Params, name: Family) -> list[str]:
    """The models of a family, in the order of params.yaml."""
    return [model for model, entry in params.models.items() if entry.family == name]


def check(params: Params, source: str, *models: str) -> None:
    """Refuse an unknown profile or model with the nearest name, and a model that has no weights at the profile.

    Raises InvalidInput, and MissingArtifact for the weights.
    """
    params.of(source)
    for model in models:
        params.weights(model, source)


def find(root: Path, params: Params, source: str, kind: str, a: str, b: str) -> tuple[Path, bool]:
    """Where the two models' artifact lies, and whether it has the second one first. Raises as check does."""
    check(params, source, a, b)
    folder = root / "artifacts" / source / kind
    for path, transposed in ((folder / a / f"{b}.safetensors", False), (folder / b / f"{a}.safetensors", True)):
        if path.is_file():
            return path, transposed
    raise MissingArtifact(folder / a / f"{b}.safetensors", f"nor is there {b}/{a}", next_step="run dvc repro")


def note(reading: Reading, path: Path, schema: Schema) -> Arrays:
    """Open an artifact of the source's profile and put it down as read."""
    arrays = _read(path, schema.kind)
    if arrays.provenance.profile != reading.source:
        seen = arrays.provenance.profile
        raise InvalidInput(path, field="profile", seen=seen, expected=reading.source, next_step="run dvc repro")
    reading.note(path.relative_to(ROOT), arrays.sha256)
    return arrays


_SCHEMAS = {schema.kind: schema for schema in (CKA, SIMILARITY, KNN, SWEEP)}


@lru_cache(maxsize=32)
def _read(path: Path, kind: str) -> Arrays:
    return store.read_arrays(path, _SCHEMAS[kind])


# A pair keeps its draws (16 MB), which every claim about it shares.
@lru_cache(maxsize=12)
def _pair(path: Path, names: tuple[str, str], transposed: bool) -> Pair:
    return Pair.from_arrays(_read(path, CKA.kind), names=names, transposed=transposed)


@lru_cache(maxsize=8)
def _accuracy(path: Path) -> Accuracy:
    return Accuracy.from_arrays(_read(path, KNN.kind))


def _subsets(params: Params, reading: Reading, token: str) -> Measure:
    def pair(a: str, b: str) -> Pair:
        path, transposed = find(ROOT, params, reading.source, "similarity", a, b)
        return Pair.from_subsets(note(reading, path, SIMILARITY), token, names=(a, b), transposed=transposed)

    return pair
