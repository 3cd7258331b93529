"""The figures of a profile's page, on the paper's axes, as inline SVG that takes the page's own colours."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import combinations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.artifacts import store
from harness.artifacts.errors import MissingArtifact
from harness.artifacts.layout import of_type, types_of
from harness.artifacts.tables import CKA, CURVE, DRIFT, KNN, LINE, PATH, PIXELS, PROBE, SWEEP, TOKENS, unpack
from harness.evidence.resampling import BLOCKS
from harness.params.models import FINETUNED
from harness.readings.final import Final
from harness.readings.finetune_path import barrier
from harness.readings.pair import Pair
from harness.readings.probes import MeasuredProbes, ProbeAccuracy, difference
from harness.stages.place import Place

# Okabe and Ito's colours, which the colour-blind tell apart, for methods in the order of the parameters.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#808080"
# Which probes are shown, and what a claim calls them.
PROBED = {
    "pair": "and the best other block",
    "wide": "joined to itself",
    "all": "all blocks",
    "projected": "all blocks, projected",
    "depth2": "depth 2",
    "depth3": "depth 3",
    "depth4": "depth 4",
    "depth5": "depth 5",
}


@dataclass(frozen=True)
class Shown:
    """A figure of the page. svg: empty where it could not be drawn, and missing says why and what would make it."""

    where: str
    title: str
    caption: str
    svg: str = ""
    missing: str = ""


def all_figures(place: Place) -> list[Shown]:
    """Every figure in the paper's order. Raises InvalidInput for a broken artifact; what is missing is told in its place."""
    figures = []
    for where, title, caption, draw in (
        ("Fig. 1", "CKA of all layers", "Layers by type, of each its blocks in order. One colour scale.", _maps),
        ("Fig. 2", "CKA at the same depth, by layer type", "Of the first run of each method.", _types),
        (
            "Fig. 3",
            "CKA of block outputs across architectures, by distance in depth",
            "Blocks so many twelfths of the depth apart. Dashed: vision transformers of a JE and a REC objective.",
            _distances,
        ),
        (
            "Fig. 4",
            "20-NN accuracy by block",
            "Thin lines are further runs of a method; the last point is the final norm.",
            _knn,
        ),
        (
            "Fig. 5, 6, Table 1",
            "What probes gain over a linear one on the final CLS token",
            "Points, with 95 % intervals.",
            _probes,
        ),
        (
            "Fig. 9",
            "CKA before and after fine-tuning",
            "A name that ends in _ft is of the model after it. Layers and colours as in Fig. 1.",
            _tuned_maps,
        ),
        (
            "Fig. 11",
            "Fine-tuning: how straight attention goes, and how far",
            "By block, of snapshots after each epoch; dotted, with the fewest snapshots. 1 is a straight way.",
            _paths,
        ),
        (
            "Beyond the paper",
            "Fine-tuning, epoch by epoch: whom a model's final features are like",
            "Debiased CKA of the final CLS token with the model's own start and end (grey) and each method as pre-trained.",
            _drifts,
        ),
        (
            "Beyond the paper",
            "Loss and accuracy on the straight line through the parameters, from before fine-tuning to after it",
            "On validation images; the head goes along, from zero.",
            _lines,
        ),
        ("Fig. A1", "CKA by minibatch size and by number of images", "Mean over layers, with their range.", _sweep),
        (
            "Protocol",
            "20-NN accuracy during pre-training",
            "Final CLS token, on 1,024 training images; the table of models has accuracy on validation images.",
            _curves,
        ),
    ):
        try:
            with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif", "font.size": 8}):
                figures.append(Shown(where, title, caption, svg=_svg(*draw(place), title)))
        except MissingArtifact as error:
            figures.append(Shown(where, title, caption, missing=str(error)))
    return figures


def _maps(place: Place) -> tuple[Figure, str]:
    trained, pairs, known = _methods(place), _pairs(place), place.settings.models
    pairs += [(trained[0], run) for run in known if place.params.model(run).replicate_of == trained[0]][:1] if trained else []
    untrained = [model for model in place.settings.references if place.params.model(model).family == "random"]
    pairs += [(untrained[0], untrained[1])] if len(untrained) > 1 else []
    if not pairs:
        raise _nothing(place, "cka", "no two models to compare")
    return _side_by_side(place, pairs)


def _tuned_maps(place: Place) -> tuple[Figure, str]:
    """A JE and a REC model before and after, and the REC model with itself."""
    tuned = [model for model in _methods(place) if model in place.settings.finetuned]
    je, rec = (next((m for m in tuned if place.params.model(m).family == family), None) for family in ("je", "rec"))
    if je is None or rec is None:
        raise _nothing(place, "cka", "no JE and REC model are fine-tuned", "finetuned")
    after, own = f"{je}{FINETUNED}", f"{rec}{FINETUNED}"
    return _side_by_side(place, [(je, rec), (je, own), (after, own), (rec, own), (je, after)])


def _side_by_side(place: Place, pairs: Sequence[tuple[str, str]]) -> tuple[Figure, str]:
    figure = Figure(figsize=(2.6 * len(pairs) + 0.6, 3.0), layout="constrained")
    axes = figure.subplots(1, len(pairs), squeeze=False)[0]
    said = []
    for axis, (a, b) in zip(axes, pairs, strict=True):
        matrix, types = _matrix(place, a, b)
        image = axis.imshow(matrix, origin="lower", vmin=0, vmax=1, cmap="magma", interpolation="nearest")
        rows, columns = ([n / len(types) * (i + 0.5) - 0.5 for i in range(len(types))] for n in matrix.shape)
        axis.set(title=f"{a}, {b}", xticks=columns, yticks=rows)
        axis.set_xticklabels(types, rotation=90, fontsize=6)
        axis.set_yticklabels(types if axis is axes[0] else [], fontsize=6)
        said.append(f"{a} and {b}: mean {np.nanmean(matrix):.2f}")
    figure.colorbar(image, ax=list(axes), shrink=0.7, label="CKA")
    return figure, "; ".join(said)


def _types(place: Place) -> tuple[Figure, str]:
    pairs, said = _pairs(place), []
    if not pairs:
        raise _nothing(place, "cka", "no two models to compare")
    figure = Figure(figsize=(2.9 * len(pairs), 2.7), layout="constrained")
    axes = figure.subplots(1, len(pairs), squeeze=False, sharey=True)[0]
    for axis, (a, b) in zip(axes, pairs, strict=True):
        matrix, types = _matrix(place, a, b)
        for i, kind in enumerate(types):
            cells = np.split(np.split(matrix, len(types))[i], len(types), axis=1)[i]
            values = [row[round(j * (len(row) - 1) / max(len(cells) - 1, 1))] for j, row in enumerate(cells)]
            axis.plot(values, label=kind, color=mpl.colormaps["viridis"](i / max(len(types) - 1, 1)), linewidth=1.4)
            said.append(f"{a} and {b}, {kind}: {np.nanmean(values):.2f}")
        axis.set(title=f"{a}, {b}", xlabel="block", ylim=(0, 1))
    axes[0].set_ylabel("CKA")
    axes[-1].legend(fontsize=6)
    return figure, "; ".join(said)


def _distances(place: Place) -> tuple[Figure, str]:
    """For each network of another kind, how like each method's vision transformer it is, near and far."""
    methods, known = _methods(place), {m: place.params.model(m) for m in place.settings.models}
    kinds = {known[m].architecture for m in methods}
    others = [m for m, entry in known.items() if entry.family in ("je", "rec") and entry.architecture not in kinds]
    if not (methods and others):
        raise _nothing(place, "cka", "no networks of other kinds than the references", "models")
    figure = Figure(figsize=(2.9 * len(others), 2.7), layout="constrained")
    axes, said = figure.subplots(1, len(others), squeeze=False, sharey=True)[0], []
    across = [(a, b) for a, b in combinations(methods, 2) if known[a].family != known[b].family]
    for axis, other in zip(axes, others, strict=True):
        pairs = [((other, method), "-", colour, method) for method, colour in zip(methods, COLOURS, strict=False)]
        pairs += [(pair, "--", GREY, "") for pair in across]
        for (a, b), style, colour, label in pairs:
            near = replace(Pair.from_arrays(_cka(place, a, b)[0]), draws=1)
            values = [near.at_distances([d], ["block"]).value for d in BLOCKS]
            axis.plot(values, style, color=colour, linewidth=1.6, label=label or f"{a}, {b}")
            said.append(f"{a} and {b}: {values[0]:.2f} at one depth, {values[-1]:.2f} across it")
        axis.set(title=other, xlabel="distance in blocks", xticks=BLOCKS[::3], ylim=(0, 1))
        axis.legend(fontsize=6)
    axes[0].set_ylabel("CKA")
    return figure, "; ".join(dict.fromkeys(said))


def _knn(place: Place) -> tuple[Figure, str]:
    pixels = store.read_arrays(place.path("pixels"), PIXELS)
    level = 100 * float((pixels["vote"] == pixels["label"]).mean())
    figure = Figure(figsize=(7.4, 3.0), layout="constrained")
    axes, said = figure.subplots(1, 2, sharey=True), [f"raw pixels: {level:.1f} %"]
    for model, colour, style, width in _styles(place):
        arrays = store.read_arrays(place.path("knn", model), KNN)
        for axis, token in zip(axes, TOKENS, strict=True):
            if token not in unpack(arrays["tokens"]):
                continue
            right = 100 * (arrays["vote"][unpack(arrays["tokens"]).index(token)] == arrays["label"]).mean(1)
            label = model if width > 1 else None
            axis.plot(np.linspace(0, 1, len(right)), right, style, color=colour, linewidth=width, label=label)
            said.append(f"{model}, {token.upper()}: {right[-1]:.1f} %")
    for axis, token in zip(axes, TOKENS, strict=True):
        axis.axhline(level, color=GREY, linewidth=0.8, linestyle=":")
        axis.annotate("raw pixels", (0, level), fontsize=6, va="bottom")
        axis.set(title=f"{token.upper()} features", xlabel="share of the depth", ylim=(0, 100))
    axes[0].set_ylabel("top-1 %")
    axes[1].legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)


def _probes(place: Place) -> tuple[Figure, str]:
    models = _methods(place)
    if not models:
        raise _nothing(place, "probes", "no model of the paper's methods")
    of = {m: ProbeAccuracy.from_arrays(store.read_arrays(place.path("probes", m), PROBE), m) for m in models}
    probes, said = MeasuredProbes(of.__getitem__), []
    figure = Figure(figsize=(7.4, 0.34 * len(PROBED) * len(models) ** 0.5 + 0.8), layout="constrained")
    axis = figure.subplots()
    for i, (model, colour) in enumerate(zip(models, COLOURS, strict=False)):
        final = of[model].estimate("final").value
        for row, features in enumerate(PROBED):
            if not any(name.startswith(features) for name in [*of[model].right, "pair", "wide"]):
                continue
            gain = difference(probes, (model, features), (model, "final"))
            low, high = gain.interval()
            y = row + 0.22 * (i - (len(models) - 1) / 2)
            label = f"{model} (final {final:.1f} %)" if row == 0 else None
            axis.plot([low, high], [y, y], color=colour, linewidth=1.6)
            axis.plot([gain.value], [y], "o", color=colour, markersize=4, label=label)
            said.append(f"{model}, {PROBED[features]}: {gain.value:+.1f}")
    axis.axvline(0, color=GREY, linewidth=0.8)
    axis.set(yticks=range(len(PROBED)), xlabel="percentage points over the final CLS token alone")
    axis.set_yticklabels(list(PROBED.values()))
    axis.invert_yaxis()
    axis.legend(fontsize=6)
    return figure, "; ".join(said)


def _paths(place: Place) -> tuple[Figure, str]:
    figure = Figure(figsize=(7.4, 2.6), layout="constrained")
    axes, said = figure.subplots(1, 2), []
    finetuned = place.settings.finetuned
    if not finetuned:
        raise _nothing(place, "path", "no model is fine-tuned", "finetuned")
    for model, colour, style, width in _styles(place):
        if model not in finetuned:
            continue
        rows = store.read_table(place.path("path", model, ending=".json"), PATH).rows
        attention = rows[rows.kind == "attention"].sort_values("block").set_index("every")
        fewest = attention.index.max()
        for every, line in ((1, style), (fewest, ":")) if width > 1 and fewest > 1 else ((1, style),):
            one = attention.loc[every]
            label = model if width > 1 and every == 1 else None
            axes[0].plot(one.block, one.net / one.length, line, color=colour, linewidth=width, label=label)
        one = attention.loc[1]
        axes[1].plot(one.block, 100 * one.net / one.start, style, color=colour, linewidth=width)
        said.append(
            f"{model}: efficiency {(one.net / one.length).mean():.2f}, moved {100 * (one.net / one.start).mean():.1f} %"
        )
    axes[0].set(xlabel="block", ylabel="net / length", ylim=(0, 1))
    axes[1].set(xlabel="block", ylabel="% of the norm at the start")
    axes[0].legend(fontsize=6)
    return figure, "; ".join(said)


def _drifts(place: Place) -> tuple[Figure, str]:
    known, methods = place.params.model, _methods(place)
    tuned = [model for model in place.settings.finetuned if known(model).replicate_of is None]
    if not tuned:
        raise _nothing(place, "drift", "no model is fine-tuned", "finetuned")
    figure = Figure(figsize=(2.3 * len(tuned) + 0.8, 2.7), layout="constrained")
    axes, said = figure.subplots(1, len(tuned), squeeze=False, sharey=True)[0], []
    for axis, model in zip(axes, tuned, strict=True):
        arrays = store.read_arrays(place.path("drift", model), DRIFT)
        lines = [("start", "--", GREY), ("end", ":", GREY)]
        lines += [(other, "-", colour) for other, colour in zip(methods, COLOURS, strict=False) if other != model]
        for to, style, colour in lines:
            epochs = range(arrays["self_snapshot"].shape[1])
            values = [Final.of_snapshot(arrays, epoch, to).values_only().same_depth().value for epoch in epochs]
            label = to if colour == GREY else f"pre-trained {to}"
            axis.plot(epochs, values, style, color=colour, linewidth=1.6, label=label)
            said.append(f"{model} and {label}: {values[0]:.2f} to {values[-1]:.2f}")
        axis.set(title=model, xlabel="epoch", ylim=(0, 1))
    axes[0].set_ylabel("CKA")
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    axes[-1].legend(handles.values(), handles.keys(), fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)


def _lines(place: Place) -> tuple[Figure, str]:
    figure = Figure(figsize=(7.4, 2.6), layout="constrained")
    axes, said = figure.subplots(1, 2), []
    finetuned = place.settings.finetuned
    if not finetuned:
        raise _nothing(place, "line", "no model is fine-tuned", "finetuned")
    for model, colour, style, width in _styles(place):
        if model not in finetuned:
            continue
        arrays = store.read_arrays(place.path("line", model), LINE)
        for axis, values in zip(axes, (arrays["loss"].mean(1), 100 * arrays["right"].mean(1)), strict=True):
            axis.plot(arrays["share"], values, style, color=colour, linewidth=width, label=model if width > 1 else None)
        above = barrier(arrays)
        low, high = above.interval()
        said.append(f"{model}: {above.value:+.2f} [{low:+.2f}, {high:+.2f}] nats over the chord at most")
    axes[0].set(xlabel="share of the way", ylabel="loss in nats", ylim=(0, None))
    axes[1].set(xlabel="share of the way", ylabel="top-1 %", ylim=(0, 100))
    axes[1].legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)


def _sweep(place: Place) -> tuple[Figure, str]:
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


def _curves(place: Place) -> tuple[Figure, str]:
    figure, said = Figure(figsize=(7.4, 2.6), layout="constrained"), []
    axis = figure.subplots()
    for model, colour, style, width in _styles(place):
        rows = store.read_table(place.path("curves", model, ending=".json"), CURVE).rows
        if not len(rows):
            continue
        axis.plot(rows.epoch, 100 * rows.knn_cls, style, color=colour, linewidth=width, label=model if width > 1 else None)
        said.append(f"{model}: {100 * rows.knn_cls.iloc[-1]:.1f} % after {rows.epoch.iloc[-1]} epochs")
    if not said:
        raise MissingArtifact(
            place.path("curves", ending=""), "nothing was trained here", next_step="released weights have none"
        )
    axis.set(xlabel="epoch", ylabel="top-1 %")
    axis.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)


def _nothing(place: Place, kind: str, what: str, among: str = "references") -> MissingArtifact:
    return MissingArtifact(place.path(kind, ending=""), what, next_step=f"name such among profiles.{place.profile}.{among}")


def _methods(place: Place) -> list[str]:
    """The first run of each method of the paper that the profile measures."""
    known = {model: place.params.model(model) for model in place.settings.references}
    return [model for model, entry in known.items() if entry.family in ("je", "rec") and entry.replicate_of is None]


def _pairs(place: Place) -> list[tuple[str, str]]:
    """As many pairs of methods as fit side by side."""
    return list(combinations(_methods(place), 2))[:3]


def _styles(place: Place) -> Iterator[tuple[str, str, str, float]]:
    """Every model of the profile with its colour, line style and width: one colour a method, its first run the widest."""
    known = {model: place.params.model(model) for model in place.settings.models}
    firsts = [m for m, entry in known.items() if entry.family != "random" and entry.replicate_of is None]
    order = sorted(firsts, key=lambda m: m not in _methods(place))
    for model, entry in known.items():
        if entry.family == "random":
            yield model, GREY, "--", 1.2
        else:
            again, i = divmod(order.index(entry.replicate_of or model), len(COLOURS))
            yield model, COLOURS[i], "-." if again else "-", 1.8 if entry.replicate_of is None else 0.7


def _matrix(place: Place, a: str, b: str) -> tuple[NDArray[np.float64], list[str]]:
    """CKA of all layers of both, type by type and of each its blocks, a's in the rows; and the types."""
    arrays, turn = _cka(place, a, b)
    orders = [_by_type(unpack(arrays[name])) for name in ("layers_a", "layers_b")]
    matrix = np.array(arrays["cka"], np.float64)[np.ix_(*orders)]
    return (matrix.T if turn else matrix), unpack(arrays["types"])


def _cka(place: Place, a: str, b: str) -> tuple[store.Arrays, bool]:
    """The two models' CKA, and whether b is its first."""
    for one, other, turn in ((a, b, False), (b, a, True)):
        if other in place.params.compared(one, place.profile):
            return store.read_pairs(place.path("cka", one), CKA).of(other), turn
    raise MissingArtifact(place.path("cka", a), f"neither {a} nor {b} is a reference", next_step="compare with references")


def _by_type(layers: Sequence[str]) -> list[int]:
    return [i for kind in types_of(layers) for i in of_type(layers, kind)]


def _svg(figure: Figure, said: str, title: str) -> str:
    """The figure for a page of any background: its black is the page's ink, and its ids are its own."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = text.replace("#000000", "currentColor")
    # Matplotlib numbers some ids by itself, alike in every figure.
    own = re.sub(r"\W+", "-", title.lower())
    text = re.sub(r'\bid="', f'id="{own}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{own}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(f"{title}. {said}")}" ', 1)
