"""Figures of detection: average precision by size of the objects and by the blocks that are read, and what is detected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from harness.artifacts import store
from harness.artifacts.tables import DETECT, unpack
from harness.page.bars import bars
from harness.page.styles import WIDE, nothing_to_draw, style
from harness.params.profile import END_TO_END
from harness.readings.detection import DetectionAccuracy
from harness.stages.place import Place

TASKS = {"box": "boxes", "mask": "masks"}
SIZES = {"ap": "all objects", "small": "small", "medium": "medium", "large": "large"}
ROWS = {"final": "frozen backbone", END_TO_END: "backbone trained end to end"}
READ = {
    "final": "last\nblock",
    "final+9": "and\nblock 9",
    "final+10": "and\nblock 10",
    "final+9+10": "and blocks\n9 and 10",
    "final+final": "last block\ntwice",
}
# Of each image of the strip, in inches.
SIDE = 1.5
# The colour of what is found, which images of grey levels do not have.
FOUND = "#ffb000"


def by_size(place: Place) -> tuple[Figure, str]:
    """Tables 2, A6 and A7: AP of boxes and of masks by the objects' size; a row for frozen backbones, one for trained ones."""
    rows = {layers: models for layers in ROWS if (models := _shown(place, layers))}
    if not rows:
        raise nothing_to_draw(place, "detect", "no detector is trained on any model", "detected")
    figure = Figure(figsize=(WIDE, 3.4 * len(rows)), layout="constrained")
    axes, said = figure.subplots(len(rows), len(TASKS), sharey=True, squeeze=False), []
    for own, (layers, models) in zip(axes, rows.items(), strict=True):
        for axis, (task, name) in zip(own, TASKS.items(), strict=True):
            known = {model: accuracy(place, layers, model) for model in models}
            bars(axis, place, {m: [found.points(task, size) for size in SIZES] for m, found in known.items()})
            _label(axis, list(SIZES.values()), f"{name}, {ROWS[layers]}")
            said += [
                f"{style(place, m).title}, {name}, {ROWS[layers]}: {found.points(task, 'ap').value:.1f}"
                for m, found in known.items()
            ]
        own[0].set(ylabel="AP, points")
        own[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)


def by_blocks(place: Place) -> tuple[Figure, str]:
    """Fig. 8: AP of boxes and of masks with further blocks beside the last one."""
    further = {*place.settings.detected_deeper, *place.settings.detected_by_block}
    models = [model for model in _shown(place, "final") if model in further]
    if not models:
        raise nothing_to_draw(place, "detect", "no detector reads further blocks", "detected_deeper")
    figure = Figure(figsize=(WIDE, 3.4), layout="constrained")
    axes, said = figure.subplots(1, len(TASKS), sharey=True), []
    known = {
        model: {layers: accuracy(place, layers, model) for layers in READ if model in place.settings.detected_with(layers)}
        for model in models
    }
    read = [layers for layers in READ if any(layers in found for found in known.values())]
    for axis, (task, name) in zip(axes, TASKS.items(), strict=True):
        points = {m: {layers: one.points(task, "ap") for layers, one in found.items()} for m, found in known.items()}
        bars(axis, place, {m: [found.get(layers) for layers in read] for m, found in points.items()})
        _label(axis, [READ[layers] for layers in read], name)
        said += [
            f"{style(place, model).title}, {name}, {' '.join(READ[layers].split())}: {one.value:.1f}"
            for model, found in points.items()
            for layers, one in found.items()
        ]
    axes[0].set(ylabel="AP, points")
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)


def pictures(place: Place) -> tuple[Figure, str]:
    """A row a model: the first validation images with the boxes and masks that its detector finds."""
    models = _shown(place, "final")
    if not models:
        raise nothing_to_draw(place, "detect", "no detector is trained on any model", "detected")
    known = {model: store.read_arrays(place.path("detect", "final", model), DETECT) for model in models}
    columns = max(len(found["picture"]) for found in known.values())
    figure = Figure(figsize=(SIDE * columns, (SIDE + 0.2) * len(models)), layout="constrained")
    axes, said = figure.subplots(len(models), columns, squeeze=False), []
    for own, (model, found) in zip(axes, known.items(), strict=True):
        for i, (axis, picture) in enumerate(zip(own, found["picture"], strict=True)):
            axis.imshow(picture, interpolation="nearest")
            _draw(axis, found, np.flatnonzero(np.asarray(found["shown_picture"]) == i))
            axis.set(xticks=[], yticks=[])
        own[0].set_title(style(place, model).title, loc="left", fontsize=9)
        said.append(f"{style(place, model).title}: {len(found['shown_box'])} objects are found")
    return figure, "; ".join(said)


def _draw(axis: Axes, found: store.Arrays, shown: Sequence[int]) -> None:
    """The boxes, masks and categories of some detections."""
    names = unpack(found["categories"])
    for i in shown:
        left, top, width, height = found["shown_box"][i]
        # The centre of the first pixel is at 0 on the axes, its left edge at 0 in the box.
        axis.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=FOUND, linewidth=1.2))
        axis.annotate(
            names[found["shown_category"][i]], (left + width, top), color=FOUND, fontsize=8, va="top", annotation_clip=True
        )
        mask = np.asarray(found["shown_mask"][i], bool)
        overlay = np.zeros((*mask.shape, 4))
        overlay[mask] = to_rgba(FOUND, 0.4)
        axis.imshow(overlay, interpolation="nearest")


def _label(axis: Axes, groups: Sequence[str], title: str) -> None:
    axis.set(title=title, xticks=range(len(groups)), xticklabels=groups)


def accuracy(place: Place, layers: str, model: str) -> DetectionAccuracy:
    """What a model's detector reaches that reads these layers. Raises MissingArtifact."""
    return DetectionAccuracy.from_arrays(store.read_arrays(place.path("detect", layers, model), DETECT))


def _shown(place: Place, layers: str) -> list[str]:
    """The first run of each model that has a detector."""
    return place.params.first_runs(place.settings.detected_with(layers))
