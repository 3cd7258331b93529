"""Opening the artifacts of a profile: their paths, and a cache of those opened last."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.finetuning_tables import PATH
from harness.artifacts.schema import Schema
from harness.artifacts.store import Arrays, Table
from harness.artifacts.tables import ARRAYS, CKA, PAIRS, SIMILARITY
from harness.evidence.claim import Inputs
from harness.params.params import Params
from harness.readings.depth import blocks_of, without_blocks

Opened = TypeVar("Opened", Arrays, Table)


class Files:
    """The artifacts of one profile. Every artifact that is opened is recorded in the inputs, with its SHA-256.

    root: the project's folder. Raises InvalidInput for an unknown profile.
    """

    def __init__(self, params: Params, inputs: Inputs, root: Path) -> None:
        self.params, self.inputs, self.root = params, inputs, root

    def check(self, *models: str) -> None:
        """Raise InvalidInput for an unknown profile or model, MissingArtifact for a model without weights at it."""
        self.params.of(self.inputs.source)
        for model in models:
            self.params.weights(model, self.inputs.source)

    def arrays(self, name: str, schema: Schema) -> Arrays:
        """The artifact of this name in the profile's folder."""
        path = self._path(name)
        return self._recorded(path, read_arrays(path, schema.kind))

    def of_model(self, folder: str, schema: Schema, role: str) -> tuple[Path, str]:
        """The path of an artifact of the run that stands for a method, and the run's name."""
        model = self.inputs.model_of(role)
        self.check(model)
        path = self._path(f"{folder}/{model}.safetensors")
        for blocks in blocks_of(self.arrays(f"{folder}/{model}.safetensors", schema)):
            self.inputs.record_depth(model, blocks)
        return path, model

    def table_of_model(self, folder: str, role: str) -> Table:
        """The table of the run that stands for a method."""
        model = self.inputs.model_of(role)
        self.check(model)
        path = self._path(f"{folder}/{model}.json")
        return self._recorded(path, read_table(path))

    def of_pair(self, schema: Schema, a: str, b: str) -> tuple[Path, tuple[str, str], bool]:
        """The path of the comparison of the runs that stand for two methods, their names, and whether the second is its first.

        One of the two has the comparison in its artifact. Raises MissingArtifact where neither has it.
        """
        names = (self.inputs.model_of(a), self.inputs.model_of(b))
        path, transposed = self.find(schema.kind, *names)
        arrays = self._recorded(path, read_arrays(path, schema.kind)).of(names[0] if transposed else names[1])
        for model, blocks in zip(names[::-1] if transposed else names, blocks_of(arrays), strict=False):
            self.inputs.record_depth(model, blocks)
        return path, names, transposed

    def find(self, kind: str, a: str, b: str) -> tuple[Path, bool]:
        """Where the comparison of two models lies, and whether it has the second one first.

        Raises as check does, and MissingArtifact for layers of embeddings and for two models that are no references.
        """
        self.check(a, b)
        folder = self._path(kind)
        embeddings = [model for model in (a, b) if self.params.model(model).architecture is None]
        if embeddings and kind in (CKA.kind, SIMILARITY.kind):
            raise without_blocks(folder / embeddings[0])
        known = self.params.comparison(a, b, self.inputs.source)
        if known is not None:
            return folder / f"{known[0]}.safetensors", known != (a, b)
        references = ", ".join(self.params.of(self.inputs.source).references)
        raise MissingArtifact(
            folder / f"{a}.safetensors", f"neither {a} nor {b} is among {references}", next_step="add a reference"
        )

    def listed(self, field: str, folder: str, role: str, step: str) -> str:
        """The run that stands for a method. Raises MissingArtifact where it is not in that list of the profile.

        step: what to do then, with {} in the place of the run.
        """
        known, source = self.inputs.model_of(role), self.inputs.source
        self.check(known)
        if known not in getattr(self.params.of(source), field):
            path, what = f"artifacts/{source}/{folder}/{known}.safetensors", f"profiles.{source}.{field} has no {known}"
            raise MissingArtifact(path, what, next_step=step.format(known))
        return known

    def _path(self, name: str) -> Path:
        return self.root / "artifacts" / self.inputs.source / name

    def _recorded(self, path: Path, opened: Opened) -> Opened:
        if opened.provenance.profile != self.inputs.source:
            seen = opened.provenance.profile
            raise InvalidInput(path, field="profile", seen=seen, expected=self.inputs.source, next_step="run dvc repro")
        self.inputs.record(path.relative_to(self.root), opened.sha256)
        return opened


# As many as the embedded profile has: each is mapped, not loaded, and the null distribution comes back to all of them.
@lru_cache(maxsize=256)
def read_arrays(path: Path, kind: str) -> Arrays:
    """An artifact of a kind, kept after it was read once."""
    return store.read_pairs(path, PAIRS[kind]) if kind in PAIRS else store.read_arrays(path, ARRAYS[kind])


def read_comparison(path: Path, kind: str, names: tuple[str, str], transposed: bool) -> Arrays:
    """The comparison of two models in the artifact of one of them, of the second if transposed."""
    return read_arrays(path, kind).of(names[0] if transposed else names[1])


@lru_cache(maxsize=16)
def read_table(path: Path) -> Table:
    """A fine-tuning path, kept after it was read once."""
    return store.read_table(path, PATH)
