"""What figures share: colours, the models that are shown, and CKA of a pair with layers in order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.artifacts import store
from harness.artifacts.errors import MissingArtifact
from harness.artifacts.layout import of_type, types_of
from harness.artifacts.tables import CKA, unpack
from harness.params.models import start_of
from harness.stages.place import Place

# Of a figure as wide as the page, in inches: at 1280 pixels a point of its text is 1.4 of them.
WIDE = 11.5
# Two methods of a family have shades of one colour, chosen from those of Okabe and Ito, which the colour-blind tell apart.
SHADES: dict[str | None, tuple[str, ...]] = {
    "je": ("#0072B2", "#56B4E9", "#00355C", "#5E4FA2", "#8C96C6"),
    "rec": ("#D55E00", "#E69F00", "#7A3300"),
    "supervised": ("#009E73",),
    "random": ("#707070", "#A8A8A8"),
    None: ("#CC79A7", "#7B3F6E"),
}
GREY = "#808080"
# Of architectures in the profile's order.
DASHES = ("-", "--", "-.", ":")


class Style(NamedTuple):
    """How a model is drawn. label: None of another run of a method, which is drawn thin and not named."""

    model: str
    title: str
    colour: str
    line: str
    width: float
    label: str | None


def nothing_to_draw(place: Place, kind: str, what: str, among: str = "references") -> MissingArtifact:
    """The error of a figure that has no model to show."""
    step = f"add models to profiles.{place.profile}.{among} in params.yaml, and run dvc repro"
    return MissingArtifact(place.path(kind, ending=""), what, next_step=step)


def pairs_of(place: Place) -> list[tuple[str, str]]:
    """As many pairs of methods as fit side by side."""
    return list(combinations(place.params.methods(place.profile), 2))[:3]


def styles(place: Place) -> list[Style]:
    """Every model of the profile: a colour for each family, a shade for each method, a dash for each architecture."""
    return [style(place, model) for model in place.settings.models]


def style(place: Place, model: str) -> Style:
    """A model's style. Another run of a method has the method's; so has its fine-tuned form."""
    known, first = place.params.model, place.params.model(model).replicate_of or start_of(model)
    entry = known(first)
    family = [m for m in place.params.first_runs(place.settings.models) if known(m).family == entry.family]
    methods = [m for m in family if _method(place, m, family) == m]
    shades = SHADES[entry.family]
    architectures = list(place.settings.architectures)
    dash = DASHES[architectures.index(entry.architecture) % len(DASHES)] if entry.architecture else ":"
    colour = shades[methods.index(_method(place, first, family)) % len(shades)]
    again = known(model).replicate_of is not None
    title = place.params.title(model)
    return Style(model, title, colour, dash, 0.8 if again else 2.0, None if again else title)


def _method(place: Place, model: str, family: Sequence[str]) -> str:
    """The model of the family that is the same method on another architecture, by its name; or the model itself."""
    kind = place.params.model(model).architecture
    same = (m for m in family if model.startswith(f"{m}_") and place.params.model(m).architecture != kind)
    return next(same, model)


def cka(place: Place, a: str, b: str) -> tuple[store.Arrays, bool]:
    """The two models' CKA, and whether b is its first."""
    known = place.params.comparison(a, b, place.profile)
    if known is None:
        raise MissingArtifact(place.path("cka", a), f"neither {a} nor {b} is a reference", next_step="compare with references")
    return store.read_pairs(place.path("cka", known[0]), CKA).of(known[1]), known != (a, b)


def ordered_cka(place: Place, a: str, b: str, *, by_type: bool) -> tuple[NDArray[np.float64], list[list[str]]]:
    """CKA of all layers of both, a's in the rows, and the layers' names: by depth, or type by type and of each its blocks."""
    arrays, turn = cka(place, a, b)
    names = [unpack(arrays[name]) for name in ("layers_a", "layers_b")]
    orders = [_by_type(own) if by_type else list(range(len(own))) for own in names]
    matrix = np.array(arrays["cka"], np.float64)[np.ix_(*orders)]
    named = [[own[i] for i in order] for own, order in zip(names, orders, strict=True)]
    return (matrix.T, named[::-1]) if turn else (matrix, named)


def _by_type(layers: Sequence[str]) -> list[int]:
    return [i for kind in types_of(layers) for i in of_type(layers, kind)]
