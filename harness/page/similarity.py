"""Figures of similarity: CKA of all layers, by type, by distance, and by minibatch size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from harness.artifacts import store
from harness.artifacts.tables import SWEEP
from harness.evidence.resampling import BLOCKS
from harness.page.styles import GREY, WIDE, cka, nothing_to_draw, ordered_cka, pairs_of, style
from harness.params.models import FINETUNED
from harness.readings.pair import Pair
from harness.stages.place import Place

# Of layer types next to each other in a block, whose colours are alike.
TYPE_LINES = ("-", "--")


def maps(place: Place, *, by_type: bool = False) -> tuple[Figure, str]:
    """Fig. 1: CKA of all layers of each two methods, of two runs of one, and of two untrained networks."""
    trained, pairs, known = place.params.methods(place.profile), pairs_of(place), place.settings.models
    pairs += [(trained[0], run) for run in known if place.params.model(run).replicate_of == trained[0]][:1] if trained else []
    untrained = [model for model in place.settings.references if place.params.model(model).family == "random"]
    pairs += [(untrained[0], untrained[1])] if len(untrained) > 1 else []
    if not pairs:
        raise nothing_to_draw(place, "cka", "no two models to compare")
    return _side_by_side(place, pairs, by_type)


def finetuned_maps(place: Place, *, by_type: bool = False) -> tuple[Figure, str]:
    """A JE and a REC model before and after, and the REC model with itself."""
    tuned = [model for model in place.params.methods(place.profile) if model in place.settings.finetuned]
    je, rec = (next((m for m in tuned if place.params.model(m).family == family), None) for family in ("je", "rec"))
    if je is None or rec is None:
        raise nothing_to_draw(place, "cka", "no JE and REC model are fine-tuned", "finetuned")
    after, own = f"{je}{FINETUNED}", f"{rec}{FINETUNED}"
    return _side_by_side(place, [(je, rec), (je, own), (after, own), (rec, own), (je, after)], by_type)


def layer_types(place: Place) -> tuple[Figure, str]:
    """Fig. 2: CKA at the same depth by layer type."""
    pairs, said = pairs_of(place), []
    if not pairs:
        raise nothing_to_draw(place, "cka", "no two models to compare")
    figure = Figure(figsize=(WIDE, 4.0), layout="constrained")
    axes = figure.subplots(1, len(pairs), squeeze=False, sharey=True)[0]
    for axis, (a, b) in zip(axes, pairs, strict=True):
        matrix, (layers, _) = ordered_cka(place, a, b, by_type=True)
        types = list(dict.fromkeys(layer.partition(".")[2] for layer in layers))
        for i, kind in enumerate(types):
            cells = np.split(np.split(matrix, len(types))[i], len(types), axis=1)[i]
            values = [row[round(j * (len(row) - 1) / max(len(cells) - 1, 1))] for j, row in enumerate(cells)]
            axis.plot(values, TYPE_LINES[i % 2], label=kind, color=_viridis(i, len(types)), linewidth=1.8)
            said.append(f"{_titles(place, a, b)}, {kind}: {np.nanmean(values):.2f}")
        axis.set(title=_titles(place, a, b), xlabel="block", ylim=(0, 1))
    axes[0].set_ylabel("CKA")
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)


def distances(place: Place) -> tuple[Figure, str]:
    """For each network of another kind, how like each method's vision transformer it is, near and far."""
    methods, known = place.params.methods(place.profile), {m: place.params.model(m) for m in place.settings.models}
    kinds = {known[m].architecture for m in methods}
    others = [m for m, entry in known.items() if entry.family in ("je", "rec") and entry.architecture not in kinds]
    if not (methods and others):
        raise nothing_to_draw(place, "cka", "no networks of other kinds than the references", "models")
    figure = Figure(figsize=(WIDE, 4.0), layout="constrained")
    axes, said = figure.subplots(1, len(others), squeeze=False, sharey=True)[0], []
    across = [(a, b) for a, b in combinations(methods, 2) if known[a].family != known[b].family]
    for axis, other in zip(axes, others, strict=True):
        pairs = [((other, method), "-", style(place, method).colour, place.params.title(method)) for method in methods]
        pairs += [(pair, "--", GREY, _titles(place, *pair)) for pair in across]
        for (a, b), line, colour, label in pairs:
            near = replace(Pair.from_arrays(cka(place, a, b)[0]), draws=1)
            values = [near.at_distances([d], ["block"]).value for d in BLOCKS]
            axis.plot(values, line, color=colour, linewidth=2.0, label=label)
            said.append(f"{_titles(place, a, b)}: {values[0]:.2f} at one depth, {values[-1]:.2f} across it")
        axis.set(title=place.params.title(other), xlabel="distance in blocks", xticks=BLOCKS[::3], ylim=(0, 1))
    axes[0].set_ylabel("CKA with")
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(dict.fromkeys(said))


def sweep(place: Place) -> tuple[Figure, str]:
    """Fig. A1: CKA by minibatch size and by number of images."""
    arrays = store.read_arrays(place.path("sweep"), SWEEP)
    figure = Figure(figsize=(WIDE, 3.6), layout="constrained")
    axes, said = figure.subplots(1, 2, sharey=True), []
    for axis, sizes, names in (
        (axes[0], arrays["minibatches"], {"batch": "unbiased HSIC", "biased": "biased HSIC"}),
        (axes[1], arrays["images"], {"count": "unbiased HSIC"}),
    ):
        for (name, label), colour in zip(names.items(), ("#0072B2", "#D55E00"), strict=False):
            values = arrays[name].mean(0)
            axis.fill_between(sizes, values.min(1), values.max(1), color=colour, alpha=0.2, linewidth=0)
            axis.plot(sizes, values.mean(1), "o-", color=colour, markersize=3, label=label)
            said.append(f"{label}: {values.mean(1)[0]:.3f} at {sizes[0]}, {values.mean(1)[-1]:.3f} at {sizes[-1]}")
        axis.set_xscale("log", base=2)
        axis.set(xticks=sizes, ylim=(0, 1))
        axis.set_xticklabels(sizes)
        axis.minorticks_off()
    axes[0].set(xlabel="images in a minibatch", ylabel="CKA")
    axes[1].set(xlabel="images in all")
    axes[0].legend()
    return figure, "; ".join(said)


def _side_by_side(place: Place, pairs: Sequence[tuple[str, str]], by_type: bool) -> tuple[Figure, str]:
    figure = Figure(figsize=(WIDE, 3.2 if by_type else 2.7), layout="constrained")
    axes = figure.subplots(1, len(pairs), squeeze=False)[0]
    said = []
    for axis, (a, b) in zip(axes, pairs, strict=True):
        matrix, named = ordered_cka(place, a, b, by_type=by_type)
        image = axis.imshow(matrix, origin="lower", vmin=0, vmax=1, cmap="magma", interpolation="nearest")
        axis.set(ylabel=place.params.title(a), xlabel=place.params.title(b))
        for side, layers in zip((axis.yaxis, axis.xaxis), named, strict=True):
            side.set_ticks(*_ticks(layers, by_type))
        if by_type:
            axis.tick_params(axis="x", rotation=90)
            if axis is not axes[0]:
                axis.set_yticklabels([])
        said.append(f"{_titles(place, a, b)}: mean {np.nanmean(matrix):.2f}")
    figure.colorbar(image, ax=list(axes), shrink=0.8, label="CKA")
    return figure, "; ".join(said)


def _ticks(layers: Sequence[str], by_type: bool) -> tuple[list[float], list[str]]:
    """Where what is written on an axis: each type's name at its middle, or every third block's number at its first layer."""
    if by_type:
        kinds = [layer.partition(".")[2] for layer in layers]
        types = list(dict.fromkeys(kinds))
        each = len(layers) / len(types)
        return [each * (i + 0.5) - 0.5 for i in range(len(types))], types
    first: dict[str, float] = {}
    for i, layer in enumerate(layers):
        first.setdefault(layer.partition(".")[0], i)
    blocks = list(first)[::3]
    return [first[block] for block in blocks], blocks


def _titles(place: Place, a: str, b: str) -> str:
    return f"{place.params.title(a)} and {place.params.title(b)}"


def _viridis(i: int, n: int) -> tuple[float, ...]:
    return mpl.colormaps["viridis"](0.9 * i / max(n - 1, 1))
