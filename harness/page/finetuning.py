"""Figures of fine-tuning: paths of the parameters, similarity by epoch, and the line from start to end."""

from __future__ import annotations

from matplotlib.figure import Figure

from harness.artifacts import store
from harness.artifacts.tables import DRIFT, LINE, PATH
from harness.page.styles import COLOURS, GREY, methods_of, nothing_to_draw, styles
from harness.readings.final import Final
from harness.readings.finetune_path import barrier
from harness.stages.place import Place


def paths(place: Place) -> tuple[Figure, str]:
    """Fig. 11: efficiency and displacement of attention by block."""
    figure = Figure(figsize=(7.4, 2.6), layout="constrained")
    axes, said = figure.subplots(1, 2), []
    for model, colour, style, width in _finetuned(place, "path"):
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


def drifts(place: Place) -> tuple[Figure, str]:
    """Whom a model's final features are like, epoch by epoch of fine-tuning."""
    known, methods = place.params.model, methods_of(place)
    tuned = [model for model in place.settings.finetuned if known(model).replicate_of is None]
    if not tuned:
        raise nothing_to_draw(place, "drift", "no model is fine-tuned", "finetuned")
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


def lines(place: Place) -> tuple[Figure, str]:
    """Loss and accuracy on the straight line from before fine-tuning to after it."""
    figure = Figure(figsize=(7.4, 2.6), layout="constrained")
    axes, said = figure.subplots(1, 2), []
    for model, colour, style, width in _finetuned(place, "line"):
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


def _finetuned(place: Place, kind: str) -> list[tuple[str, str, str, float]]:
    """The styles of the models that are fine-tuned. Raises MissingArtifact for an artifact of the kind where none is."""
    found = [style for style in styles(place) if style[0] in place.settings.finetuned]
    if not found:
        raise nothing_to_draw(place, kind, "no model is fine-tuned", "finetuned")
    return found
