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
from harness.page.styles import COLOURS, GREY, cka, methods_of, nothing_to_draw, ordered_cka, pairs_of
from harness.params.models import FINETUNED
from harness.readings.pair import Pair
from harness.stages.place import Place


def maps(place: Place) -> tuple[Figure, str]:
    """Fig. 1: CKA of all layers of each two methods, of two runs of one, and of two untrained networks."""
    trained, pairs, known = methods_of(place), pairs_of(place), place.settings.models
    pairs += [(trained[0], run) for run in known if place.params.model(run).replicate_of == trained[0]][:1] if trained else []
    untrained = [model for model in place.settings.references if place.params.model(model).family == "random"]
    pairs += [(untrained[0], untrained[1])] if len(untrained) > 1 else []
    if not pairs:
        raise nothing_to_draw(place, "cka", "no two models to compare")
    return _side_by_side(place, pairs)


def finetuned_maps(place: Place) -> tuple[Figure, str]:
    """A JE and a REC model before and after, and the REC model with itself."""
    tuned = [model for model in methods_of(place) if model in place.settings.finetuned]
    je, rec = (next((m for m in tuned if place.params.model(m).family == family), None) for family in ("je", "rec"))
    if je is None or rec is None:
        raise nothing_to_draw(place, "cka", "no JE and REC model are fine-tuned", "finetuned")
    after, own = f"{je}{FINETUNED}", f"{rec}{FINETUNED}"
    return _side_by_side(place, [(je, rec), (je, own), (after, own), (rec, own), (je, after)])


def layer_types(place: Place) -> tuple[Figure, str]:
    """Fig. 2: CKA at the same depth by layer type."""
    pairs, said = pairs_of(place), []
    if not pairs:
        raise nothing_to_draw(place, "cka", "no two models to compare")
    figure = Figure(figsize=(2.9 * len(pairs), 2.7), layout="constrained")
    axes = figure.subplots(1, len(pairs), squeeze=False, sharey=True)[0]
    for axis, (a, b) in zip(axes, pairs, strict=True):
        matrix, types = ordered_cka(place, a, b)
        for i, kind in enumerate(types):
            cells = np.split(np.split(matrix, len(types))[i], len(types), axis=1)[i]
            values = [row[round(j * (len(row) - 1) / max(len(cells) - 1, 1))] for j, row in enumerate(cells)]
            axis.plot(values, label=kind, color=mpl.colormaps["viridis"](i / max(len(types) - 1, 1)), linewidth=1.4)
            said.append(f"{a} and {b}, {kind}: {np.nanmean(values):.2f}")
        axis.set(title=f"{a}, {b}", xlabel="block", ylim=(0, 1))
    axes[0].set_ylabel("CKA")
    axes[-1].legend(fontsize=6)
    return figure, "; ".join(said)


def distances(place: Place) -> tuple[Figure, str]:
    """For each network of another kind, how like each method's vision transformer it is, near and far."""
    methods, known = methods_of(place), {m: place.params.model(m) for m in place.settings.models}
    kinds = {known[m].architecture for m in methods}
    others = [m for m, entry in known.items() if entry.family in ("je", "rec") and entry.architecture not in kinds]
    if not (methods and others):
        raise nothing_to_draw(place, "cka", "no networks of other kinds than the references", "models")
    figure = Figure(figsize=(2.9 * len(others), 2.7), layout="constrained")
    axes, said = figure.subplots(1, len(others), squeeze=False, sharey=True)[0], []
    across = [(a, b) for a, b in combinations(methods, 2) if known[a].family != known[b].family]
    for axis, other in zip(axes, others, strict=True):
        pairs = [((other, method), "-", colour, method) for method, colour in zip(methods, COLOURS, strict=False)]
        pairs += [(pair, "--", GREY, "") for pair in across]
        for (a, b), style, colour, label in pairs:
            near = replace(Pair.from_arrays(cka(place, a, b)[0]), draws=1)
            values = [near.at_distances([d], ["block"]).value for d in BLOCKS]
            axis.plot(values, style, color=colour, linewidth=1.6, label=label or f"{a}, {b}")
            said.append(f"{a} and {b}: {values[0]:.2f} at one depth, {values[-1]:.2f} across it")
        axis.set(title=other, xlabel="distance in blocks", xticks=BLOCKS[::3], ylim=(0, 1))
        axis.legend(fontsize=6)
    axes[0].set_ylabel("CKA")
    return figure, "; ".join(dict.fromkeys(said))


def sweep(place: Place) -> tuple[Figure, str]:
    """Fig. A1: CKA by minibatch size and by number of images."""
    arrays = store.read_arrays(place.path("sweep"), SWEEP)
    figure = Figure(figsize=(7.4, 2.6), layout="constrained")
    axes, said = figure.subplots(1, 2, sharey=True), []
    for axis, sizes, names in (
        (axes[0], arrays["minibatches"], {"batch": "unbiased HSIC", "biased": "biased HSIC"}),
        (axes[1], arrays["images"], {"count": "unbiased HSIC"}),
    ):
        for (name, label), colour in zip(names.items(), COLOURS, strict=False):
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
    axes[0].legend(fontsize=6)
    return figure, "; ".join(said)


def _side_by_side(place: Place, pairs: Sequence[tuple[str, str]]) -> tuple[Figure, str]:
    figure = Figure(figsize=(2.6 * len(pairs) + 0.6, 3.0), layout="constrained")
    axes = figure.subplots(1, len(pairs), squeeze=False)[0]
    said = []
    for axis, (a, b) in zip(axes, pairs, strict=True):
        matrix, types = ordered_cka(place, a, b)
        image = axis.imshow(matrix, origin="lower", vmin=0, vmax=1, cmap="magma", interpolation="nearest")
        rows, columns = ([n / len(types) * (i + 0.5) - 0.5 for i in range(len(types))] for n in matrix.shape)
        axis.set(title=f"{a}, {b}", xticks=columns, yticks=rows)
        axis.set_xticklabels(types, rotation=90, fontsize=6)
        axis.set_yticklabels(types if axis is axes[0] else [], fontsize=6)
        said.append(f"{a} and {b}: mean {np.nanmean(matrix):.2f}")
    figure.colorbar(image, ax=list(axes), shrink=0.7, label="CKA")
    return figure, "; ".join(said)
