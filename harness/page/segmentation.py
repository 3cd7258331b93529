"""Figure of segmentation: how much of objects' masks a linear read-out finds in the patch tokens, by block."""

from __future__ import annotations

from matplotlib.figure import Figure

from harness.artifacts import store
from harness.artifacts.tables import SEGMENT
from harness.page.styles import WIDE, nothing_to_draw, styles
from harness.readings.segmentation import Segmentation
from harness.stages.place import Place

PANELS = {"objects": "all objects", "small": "small objects", "medium": "medium objects", "large": "large objects"}


def by_block(place: Place) -> tuple[Figure, str]:
    """Intersection over union by block, of all objects and of each size."""
    shown = [one for one in styles(place) if one.model in place.settings.segmented]
    if not shown:
        raise nothing_to_draw(place, "segment", "no masks are read out of any model's patch tokens", "segmented")
    figure = Figure(figsize=(WIDE, 3.8), layout="constrained")
    axes, said = figure.subplots(1, len(PANELS), sharey=True), []
    for one in shown:
        found = Segmentation.from_arrays(store.read_arrays(place.path("segment", one.model), SEGMENT))
        for axis, region in zip(axes, PANELS, strict=True):
            values = [100 * found.iou(region, block).value for block in range(found.blocks)]
            axis.plot(values, one.line, color=one.colour, linewidth=one.width, label=one.label)
            said.append(f"{one.title}, {PANELS[region]}: {values[-1]:.0f} % after the last block, {max(values):.0f} at most")
    for axis, title in zip(axes, PANELS.values(), strict=True):
        axis.set(title=title, xlabel="block", xticks=range(0, found.blocks, 3))
    axes[0].set(ylabel="intersection over union, %")
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)
