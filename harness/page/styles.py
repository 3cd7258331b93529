"""What figures share: colours, the models that are shown, and CKA of a pair with layers in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harness.artifacts import store
from harness.artifacts.errors import MissingArtifact
from harness.artifacts.layout import of_type, types_of
from harness.artifacts.tables import CKA, unpack
from harness.stages.place import Place

# Okabe and Ito's colours, which the colour-blind tell apart, for methods in the order of the parameters.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#808080"


def nothing_to_draw(place: Place, kind: str, what: str, among: str = "references") -> MissingArtifact:
    """The error of a figure that has no model to show."""
    return MissingArtifact(place.path(kind, ending=""), what, next_step=f"name such among profiles.{place.profile}.{among}")


def methods_of(place: Place) -> list[str]:
    """The first run of each method of the paper that the profile measures."""
    known = {model: place.params.model(model) for model in place.settings.references}
    return [model for model, entry in known.items() if entry.family in ("je", "rec") and entry.replicate_of is None]


def pairs_of(place: Place) -> list[tuple[str, str]]:
    """As many pairs of methods as fit side by side."""
    return list(combinations(methods_of(place), 2))[:3]


def styles(place: Place) -> Iterator[tuple[str, str, str, float]]:
    """Every model of the profile with its colour, line style and width: one colour a method, its first run the widest."""
    known = {model: place.params.model(model) for model in place.settings.models}
    firsts = [m for m, entry in known.items() if entry.family != "random" and entry.replicate_of is None]
    order = sorted(firsts, key=lambda m: m not in methods_of(place))
    for model, entry in known.items():
        if entry.family == "random":
            yield model, GREY, "--", 1.2
        else:
            again, i = divmod(order.index(entry.replicate_of or model), len(COLOURS))
            yield model, COLOURS[i], "-." if again else "-", 1.8 if entry.replicate_of is None else 0.7


def cka(place: Place, a: str, b: str) -> tuple[store.Arrays, bool]:
    """The two models' CKA, and whether b is its first."""
    known = place.params.comparison(a, b, place.profile)
    if known is None:
        raise MissingArtifact(place.path("cka", a), f"neither {a} nor {b} is a reference", next_step="compare with references")
    return store.read_pairs(place.path("cka", known[0]), CKA).of(known[1]), known != (a, b)


def ordered_cka(place: Place, a: str, b: str) -> tuple[NDArray[np.float64], list[str]]:
    """CKA of all layers of both, type by type and of each its blocks, a's in the rows; and the types."""
    arrays, turn = cka(place, a, b)
    orders = [_by_type(unpack(arrays[name])) for name in ("layers_a", "layers_b")]
    matrix = np.array(arrays["cka"], np.float64)[np.ix_(*orders)]
    return (matrix.T if turn else matrix), unpack(arrays["types"])


def _by_type(layers: Sequence[str]) -> list[int]:
    return [i for kind in types_of(layers) for i in of_type(layers, kind)]
