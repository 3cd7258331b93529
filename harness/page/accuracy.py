"""Figures of accuracy: k-NN by block, probes, and k-NN during pre-training."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from harness.artifacts import store
from harness.artifacts.errors import MissingArtifact
from harness.artifacts.tables import CURVE, KNN, PIXELS, PROBE, TOKENS, unpack
from harness.page.styles import GREY, WIDE, nothing_to_draw, style, styles
from harness.readings import accuracy as readings
from harness.readings.probes import MeasuredProbes, ProbeAccuracy, difference
from harness.stages.place import Place

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


def pixel_accuracy(place: Place) -> float:
    """20-NN accuracy on raw pixels in percent."""
    return readings.pixel_accuracy(store.read_arrays(place.path("pixels"), PIXELS))


def final_accuracies(place: Place, model: str) -> dict[str, float]:
    """In percent: 20-NN accuracy of each token that the model has after the final norm, and of the logistic regression."""
    arrays = store.read_arrays(place.path("knn", model), KNN)
    label, votes = arrays["label"], arrays["vote"][:, -1]
    found = {token: 100 * float((votes[i] == label).mean()) for i, token in enumerate(unpack(arrays["tokens"]))}
    return found | {"probe": 100 * float((arrays["probe"] == label).mean())}


def knn(place: Place) -> tuple[Figure, str]:
    """Fig. 4: 20-NN accuracy by depth, of CLS tokens and of mean patch tokens."""
    level = pixel_accuracy(place)
    figure = Figure(figsize=(WIDE, 4.6), layout="constrained")
    axes, said = figure.subplots(1, 2, sharey=True), [f"raw pixels: {level:.1f} %"]
    for one in styles(place):
        arrays = store.read_arrays(place.path("knn", one.model), KNN)
        for axis, token in zip(axes, TOKENS, strict=True):
            if token not in unpack(arrays["tokens"]):
                continue
            right = 100 * (arrays["vote"][unpack(arrays["tokens"]).index(token)] == arrays["label"]).mean(1)
            depth = np.linspace(0, 1, len(right))
            axis.plot(depth, right, one.line, color=one.colour, linewidth=one.width, label=one.label)
            said.append(f"{one.title}, {token.upper()}: {right[-1]:.1f} %")
    for axis, token in zip(axes, TOKENS, strict=True):
        axis.axhline(level, color=GREY, linewidth=1.2, linestyle=":")
        axis.annotate("raw pixels", (0, level), va="bottom")
        name = {"cls": "CLS token", "gap": "mean of the patch tokens"}[token]
        axis.set(title=name, xlabel="share of the depth (1: after the final norm)", ylim=(0, 100))
    axes[0].set_ylabel("20-NN accuracy, %")
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)


def probes(place: Place) -> tuple[Figure, str]:
    """Fig. 5, 6 and Table 1: what probes gain over a linear one on the final CLS token."""
    models = place.params.methods(place.profile)
    if not models:
        raise nothing_to_draw(place, "probes", "no model of the paper's methods")
    of = {m: ProbeAccuracy.from_arrays(store.read_arrays(place.path("probes", m), PROBE), m) for m in models}
    probes, said = MeasuredProbes(of.__getitem__), []
    figure = Figure(figsize=(WIDE, 0.4 * len(PROBED) * len(models) ** 0.5 + 1.0), layout="constrained")
    axis = figure.subplots()
    for i, model in enumerate(models):
        own = style(place, model)
        final = of[model].estimate("final").value
        for row, features in enumerate(PROBED):
            if not any(name.startswith(features) for name in [*of[model].right, "pair", "wide"]):
                continue
            gain = difference(probes, (model, features), (model, "final"))
            low, high = gain.interval()
            y = row + 0.22 * (i - (len(models) - 1) / 2)
            label = f"{own.title} (final CLS token alone: {final:.1f} %)" if row == 0 else None
            axis.plot([low, high], [y, y], color=own.colour, linewidth=2.0)
            axis.plot([gain.value], [y], "o", color=own.colour, markersize=5, label=label)
            said.append(f"{own.title}, {PROBED[features]}: {gain.value:+.1f}")
    axis.axvline(0, color=GREY, linewidth=0.8)
    axis.set(yticks=range(len(PROBED)), xlabel="percentage points over the final CLS token alone")
    axis.set_yticklabels(list(PROBED.values()))
    axis.invert_yaxis()
    axis.legend()
    return figure, "; ".join(said)


def curves(place: Place) -> tuple[Figure, str]:
    """20-NN accuracy of the final CLS token during pre-training."""
    figure, said = Figure(figsize=(WIDE, 4.2), layout="constrained"), []
    axis = figure.subplots()
    for one in styles(place):
        rows = store.read_table(place.path("curves", one.model, ending=".json"), CURVE).rows
        if not len(rows):
            continue
        axis.plot(rows.epoch, 100 * rows.knn_cls, one.line, color=one.colour, linewidth=one.width, label=one.label)
        said.append(f"{one.title}: {100 * rows.knn_cls.iloc[-1]:.1f} % after {rows.epoch.iloc[-1]} epochs")
    if not said:
        raise MissingArtifact(
            place.path("curves", ending=""), "nothing was trained here", next_step="released weights have none"
        )
    axis.set(xlabel="epoch", ylabel="20-NN accuracy, %", ylim=(0, 100))
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)
