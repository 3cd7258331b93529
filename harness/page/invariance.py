"""Figure of invariance: how far each method's final features move when one thing in the image changes."""

from __future__ import annotations

from matplotlib.figure import Figure

from harness.artifacts import store
from harness.artifacts.tables import INVARIANCE
from harness.page.bars import bars
from harness.page.styles import WIDE, nothing_to_draw, style
from harness.params.models import FINETUNED
from harness.readings.invariance import Invariance
from harness.stages.place import Place

WORDS = {
    "flip": "mirror image",
    "orientation": "object mirrored",
    "x": "another place in x",
    "place": "another place",
    "scale": "another size",
    "tilt": "another tilt",
    "brightness": "another brightness",
    "sprite": "another object of the class",
    "class": "another class",
}


def profile(place: Place) -> tuple[Figure, str]:
    """Each method, the fine-tuned reconstruction model, and references of how much can be learnt or is there untrained."""
    models = _shown(place)
    if not models:
        raise nothing_to_draw(place, "invariance", "no model of the paper's methods")
    found = {model: Invariance.from_arrays(store.read_arrays(place.path("invariance", model), INVARIANCE)) for model in models}
    changes = next(iter(found.values())).changes
    figure = Figure(figsize=(WIDE, 4.4), layout="constrained")
    axis = figure.subplots()
    of = {model: [found[model].distance(change) for change in changes] for model in models}
    bars(axis, place, of)
    said = [
        f"{style(place, model).title}, {WORDS[change]}: {one.value:.2f}"
        for model, estimates in of.items()
        for change, one in zip(changes, estimates, strict=True)
    ]
    axis.axhline(1, color="#808080", linewidth=1.0, linestyle=":")
    axis.set(ylabel="squared distance, 1: another image", xticks=range(len(changes)))
    axis.set_xticklabels([WORDS[change].replace(" ", "\n", 1) for change in changes])
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)


def _shown(place: Place) -> list[str]:
    """The first run of each method with a CLS token of the paper's architecture, fine-tuned ones of the REC family besides."""
    known, settings = place.params.model, place.settings
    kinds = {known(model).architecture for model in settings.references}
    first = [m for m in place.params.first_runs(settings.models) if known(m).architecture in kinds]
    shown = [m for m in first if known(m).family in ("je", "rec") and m in settings.references]
    tuned = [m + FINETUNED for m in shown if known(m).family == "rec" and m in settings.finetuned]
    further = [m for m in first if known(m).family == "supervised"] + [m for m in first if known(m).family == "random"][:1]
    return shown + tuned + further if shown else []
