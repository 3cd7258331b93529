"""Verify: shipped files are whole, were made from each other, and agree with what the code gives on this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from harness.artifacts import shipped, store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import BANK, CKA, FINAL, KNN, SIMILARITY, SUMMARY
from harness.stages import compare, extract, knn, report, summary
from harness.stages.device import chosen_device
from harness.stages.place import Place

# How many of the references, the first ones, are measured anew.
MEASURED = 3
# Of whole numbers, such as votes, how many may differ: another processor's rounding decides ties otherwise.
TIES = 0.01
# L-BFGS stops a logistic regression within a tolerance. Where it stops depends on the processor, and with it the classes of
# images between two classes: on two processors 1.3 % of the neighbours in MoCo-v3's logits, 5 % of an untrained network's.
FITTED = {"probe": 0.1, "probe_vote": 0.1}


class Difference(NamedTuple):
    """How far one array measured here lies from the shipped one: of numbers the root mean square of the difference over that
    of the shipped ones, of whole numbers the share that differs. limit: what rounding explains.
    """

    artifact: str
    array: str
    value: float
    limit: float


def run(place: Place) -> None:
    """Check every artifact of the profile and say what was found.

    Raises InvalidInput for an artifact that is broken, was made from other data than lies there, or is not what is measured
    here; MissingArtifact; BadEnvironment where banks cannot be written.
    """
    root, start = place.path("", ending=""), time.monotonic()
    found = shipped.read_all(root)
    links = shipped.refuse_other_inputs(root, found)
    print(f"{len(found)} artifacts are whole, and all {links} inputs that they name are those that lie there")
    refuse_other_report(place)
    print("the report says what its artifacts say")
    models = place.settings.references[:MEASURED]
    differences = list(tqdm(measured(place, models), desc="measured anew", unit="array", disable=not sys.stderr.isatty()))
    refuse_other_numbers(place, differences)
    worst = max(differences, key=lambda one: one.value / one.limit)
    what = f"{', '.join(models)}: one forward each, their comparisons and their neighbours' votes are the shipped ones"
    print(f"{what}; most apart is {worst.array} of {worst.artifact}, by {worst.value:.1e} where {worst.limit:.0e} is rounding")
    print(f"verified in {time.monotonic() - start:.0f} s")


def refuse_other_report(place: Place) -> None:
    """Raise InvalidInput where the report is not what its artifacts give."""
    for name, text in report.texts(place).items():
        path = place.path("report", ending="") / name
        if path.read_text() != text:
            seen, expected = "other numbers", "those of the artifacts that lie there"
            raise InvalidInput(path, field="text", seen=seen, expected=expected, next_step="run dvc repro report")


def refuse_other_numbers(place: Place, differences: list[Difference]) -> None:
    """Raise InvalidInput for the array that differs most, if by more than rounding."""
    worst = max(differences, key=lambda one: one.value / one.limit)
    if worst.value > worst.limit:
        arrays, table = (place.path(worst.artifact, ending=ending) for ending in (".safetensors", ".json"))
        path = arrays if arrays.is_file() else table
        seen = f"{worst.value:.2e} from what is measured here"
        step = "run dvc repro; where nothing is stale, report the processor and the library versions"
        raise InvalidInput(path, field=worst.array, seen=seen, expected=f"at most {worst.limit:g}", next_step=step)


def measured(place: Place, models: tuple[str, ...]) -> Iterator[Difference]:
    """Extract models anew and hold their banks' summaries, comparisons with each other and votes against the shipped ones."""
    settings = place.settings
    banks: dict[str, compare.Compared] = {}
    for model in models:
        extract.write_bank(place, model, device=chosen_device())
        bank = store.read_arrays(place.path("banks", model), BANK)
        banks[model] = compare.Compared.of(bank, settings)
        old = store.read_arrays(place.path("summaries", model), SUMMARY)
        yield from apart(f"summaries/{model}", summary.summary(bank), old.values)
        votes = knn.votes(bank, settings.knn)
        yield from apart(f"knn/{model}", votes, store.read_arrays(place.path("knn", model), KNN).values)
        for reference in (name for name in place.params.compared(model, place.profile) if name in banks):
            made = compare.pair(banks[model], banks[reference], settings.extract.minibatch)
            for schema in (schema for schema in (CKA, SIMILARITY, FINAL) if schema.kind in made):
                old = store.read_pairs(place.path(schema.kind, model), schema).of(reference)
                yield from apart(f"{schema.kind}/{model}", made[schema.kind], old.values, beside=f" with {reference}")


def apart(
    artifact: str,
    made: Mapping[str, NDArray[np.generic]],
    old: Mapping[str, NDArray[np.generic]],
    beside: str = "",
) -> Iterator[Difference]:
    """How far each array made here lies from the one that lies there. beside: what is said behind the array's name."""
    for name, array in made.items():
        there = np.asarray(old[name])
        if there.shape != array.shape:
            yield Difference(artifact, name + beside, float("inf"), TIES)
        elif array.dtype.kind == "f":
            moved, size = (np.nanmean(np.square(x, dtype=np.float64)) for x in (array.astype(np.float64) - there, there))
            # Where a layer is dead on one side alone, that is no rounding.
            same = np.array_equal(np.isnan(array), np.isnan(there))
            value = float(np.sqrt(moved / size)) if size > 0 else float(np.sqrt(moved))
            yield Difference(artifact, name + beside, value if same else float("inf"), summary.TOLERANCE)
        else:
            yield Difference(artifact, name + beside, float(np.mean(array != there)), FITTED.get(name, TIES))
