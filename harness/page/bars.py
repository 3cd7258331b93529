"""Models side by side: bars with intervals, a group for each quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from harness.evidence.estimate import Estimate
from harness.evidence.resampling import FloatArray
from harness.page.styles import style
from harness.params.models import FINETUNED
from harness.stages.place import Place


def bars(axis: Axes, place: Place, of: Mapping[str, Sequence[Estimate | None]]) -> dict[str, FloatArray]:
    """A bar a model in each group, in its colour, hatched where it is fine-tuned, with the 95 % interval.

    of: by model its estimates, one a group; None leaves the model out of that group. Returns where a model's bars stand.
    """
    width, places = 0.8 / len(of), {}
    for i, (model, estimates) in enumerate(of.items()):
        own, known = style(place, model), {group: one for group, one in enumerate(estimates) if one is not None}
        values = [one.value for one in known.values()]
        ends = np.array([one.interval() for one in known.values()]).T
        places[model] = at = np.array(list(known)) + width * (i - (len(of) - 1) / 2)
        hatch = "///" if model.endswith(FINETUNED) else None
        errors = np.maximum(np.array([values - ends[0], ends[1] - values]), 0)
        axis.bar(at, values, width, color=own.colour, hatch=hatch, edgecolor="white", linewidth=0.3, label=own.title)
        axis.errorbar(at, values, errors, fmt="none", ecolor="#404040", elinewidth=0.8)
    return places
