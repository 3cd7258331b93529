"""Figures of fine-tuning: paths of the parameters, similarity by epoch, and the line from start to end."""

from __future__ import annotations

from matplotlib.figure import Figure

from harness.artifacts import store
from harness.artifacts.finetuning_tables import DRIFT, LINE, PATH
from harness.page.styles import GREY, WIDE, Style, nothing_to_draw, style, styles
from harness.readings.final import Final
from harness.readings.finetune_path import barrier
from harness.stages.place import Place


def paths(place: Place) -> tuple[Figure, str]:
    """Fig. 11: efficiency and displacement of attention by block."""
    figure = Figure(figsize=(WIDE, 4.0), layout="constrained")
    axes, said = figure.subplots(1, 2), []
    for own in _finetuned(place, "path"):
        rows = store.read_table(place.path("path", own.model, ending=".json"), PATH).rows
        attention = rows[rows.kind == "attention"].sort_values("block").set_index("every")
        fewest = attention.index.max()
        for every, line in ((1, own.line), (fewest, ":")) if own.label and fewest > 1 else ((1, own.line),):
            one = attention.loc[every]
            label = own.label if every == 1 else None
            axes[0].plot(one.block, one.net / one.length, line, color=own.colour, linewidth=own.width, label=label)
        one = attention.loc[1]
        axes[1].plot(one.block, 100 * one.net / one.start, own.line, color=own.colour, linewidth=own.width)
        said.append(
            f"{own.title}: efficiency {(one.net / one.length).mean():.2f}, moved {100 * (one.net / one.start).mean():.1f} %"
        )
    axes[0].set(xlabel="block", ylabel="path efficiency: net displacement / length", ylim=(0, 1))
    axes[1].set(xlabel="block", ylabel="net displacement, % of the norm at the start")
    axes[0].legend()
    return figure, "; ".join(said)


def drifts(place: Place) -> tuple[Figure, str]:
    """Whom a model's final features are like, epoch by epoch of fine-tuning."""
    methods, tuned = place.params.methods(place.profile), place.params.first_runs(place.settings.finetuned)
    if not tuned:
        raise nothing_to_draw(place, "drift", "no model is fine-tuned", "finetuned")
    figure = Figure(figsize=(WIDE, 4.0), layout="constrained")
    axes, said = figure.subplots(1, len(tuned), squeeze=False, sharey=True)[0], []
    for axis, model in zip(axes, tuned, strict=True):
        arrays = store.read_arrays(place.path("drift", model), DRIFT)
        lines = [("start", "--", GREY), ("end", ":", GREY)]
        lines += [(other, "-", style(place, other).colour) for other in methods if other != model]
        for to, line, colour in lines:
            epochs = range(arrays["self_snapshot"].shape[1])
            values = [Final.of_snapshot(arrays, epoch, to).values_only().same_depth().value for epoch in epochs]
            label = f"its own {to}" if colour == GREY else f"pre-trained {place.params.title(to)}"
            axis.plot(epochs, values, line, color=colour, linewidth=2.0, label=label)
            said.append(f"{place.params.title(model)} and {label}: {values[0]:.2f} to {values[-1]:.2f}")
        axis.set(title=place.params.title(model), xlabel="epoch", ylim=(0, 1))
    axes[0].set_ylabel("CKA")
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    axes[-1].legend(handles.values(), handles.keys(), loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)


def lines(place: Place) -> tuple[Figure, str]:
    """Loss and accuracy on the straight line from before fine-tuning to after it."""
    figure = Figure(figsize=(WIDE, 4.0), layout="constrained")
    axes, said = figure.subplots(1, 2), []
    for own in _finetuned(place, "line"):
        arrays = store.read_arrays(place.path("line", own.model), LINE)
        for axis, values in zip(axes, (arrays["loss"].mean(1), 100 * arrays["right"].mean(1)), strict=True):
            axis.plot(arrays["share"], values, own.line, color=own.colour, linewidth=own.width, label=own.label)
        above = barrier(arrays)
        low, high = above.interval()
        said.append(f"{own.title}: {above.value:+.2f} [{low:+.2f}, {high:+.2f}] nats over the chord at most")
    axes[0].set(xlabel="share of the way", ylabel="cross-entropy, nats", ylim=(0, None))
    axes[1].set(xlabel="share of the way", ylabel="accuracy, %", ylim=(0, 100))
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)


def _finetuned(place: Place, kind: str) -> list[Style]:
    """The styles of the models that are fine-tuned. Raises MissingArtifact for an artifact of the kind where none is."""
    found = [one for one in styles(place) if one.model in place.settings.finetuned]
    if not found:
        raise nothing_to_draw(place, kind, "no model is fine-tuned", "finetuned")
    return found
