"""Figures of images that a diffusion model draws from frozen features, and of how many show their source mirrored."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.artifacts import store
from harness.artifacts.image_tables import SAMPLES
from harness.page.bars import bars
from harness.page.styles import WIDE, nothing_to_draw, style
from harness.params.models import FINETUNED
from harness.readings.samples import Samples
from harness.stages.place import Place

# Of each panel; sources in the rows, and of each as many samples.
ROWS, COLUMNS, PANELS = 6, 6, 4
TOKEN = "cls"
WORDS = {
    "flip": "direction",
    "x": "place in x",
    "y": "place in y",
    "scale": "size",
    "tilt": "tilt",
    "contrast": "brightness",
    "balance": "right half minus left half",
}


def pictures(place: Place) -> tuple[Figure, str]:
    """A panel a model: sources on the left, images that are drawn from their features to the right."""
    models = _shown(place)
    figure = Figure(figsize=(WIDE, 2.7 * -(-len(models) // PANELS)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(-(-len(models) // PANELS), min(PANELS, len(models)))).ravel()
    said = []
    for axis, model in zip(axes, models, strict=False):
        found = _arrays(place, model)
        axis.imshow(_sheet(found["original"][:ROWS], found["picture"][:ROWS, :COLUMNS]), interpolation="nearest")
        axis.set(title=style(place, model).title)
        kept = Samples.from_arrays(found).class_kept().value
        said.append(f"{style(place, model).title}: {100 * kept:.0f} % of the samples have the class of their source")
    for axis in axes:
        axis.axis("off")
    return figure, "; ".join(said)


def mirrored(place: Place) -> tuple[Figure, str]:
    """Share of mirrored samples by the noise on the features; and, at the claims' level, what of the image is mirrored."""
    models = _shown(place)
    figure = Figure(figsize=(WIDE, 3.6), layout="constrained")
    (by_level, by_kind), said = figure.subplots(1, 2, sharey=True), []
    known = {model: _arrays(place, model) for model in models}
    for model, found in known.items():
        own, levels = style(place, model), found["levels"].tolist()
        shares = [Samples.from_arrays(found, level).mirrored() for level in levels]
        values, ends = [one.value for one in shares], np.array([one.interval() for one in shares])
        line = "--" if model.endswith(FINETUNED) else own.line
        by_level.plot(levels, values, label=own.title, color=own.colour, linestyle=line)
        by_level.fill_between(levels, ends[:, 0], ends[:, 1], color=own.colour, alpha=0.15, linewidth=0)
        said.append(
            f"{own.title}: {', '.join(f'{value:.2f} at {level:g}' for level, value in zip(levels, values, strict=True))}"
        )
    at_claims = {model: Samples.from_arrays(found) for model, found in known.items()}
    # Of a photograph it is not known where its object is.
    kinds = {"image": Samples.mirrored, "place": Samples.place_mirrored, "object": Samples.object_mirrored}
    kinds = {kind: read for kind, read in kinds.items() if kind == "image" or kind in at_claims[models[0]].candidates}
    bars(by_kind, place, {model: [read(one) for read in kinds.values()] for model, one in at_claims.items()})
    for axis in (by_level, by_kind):
        axis.axhline(0.5, color="#808080", linewidth=1.0, linestyle=":")
    by_level.set(xlabel="noise on the features, standard deviations", ylabel="share of samples", ylim=(0, 1))
    by_level.set(title="nearer to the mirror image")
    level = float(found["levels"][found["level"][0]])
    by_kind.set(title=f"what is mirrored, at {level:g}", xticks=range(len(kinds)), xticklabels=kinds)
    by_level.legend(loc="upper left", fontsize=8)
    return figure, "; ".join(said)


def profile(place: Place) -> tuple[Figure, str]:
    """What samples of one source have in common: by factor, the share of its variance that a model's features keep."""
    figure = Figure(figsize=(WIDE, 3.6), layout="constrained")
    axis = figure.subplots()
    of = {model: Samples.from_arrays(_arrays(place, model)) for model in _shown(place)}
    words = {factor: word for factor, word in WORDS.items() if factor in next(iter(of.values())).factors}
    kept = {model: [found.kept(factor) for factor in words] for model, found in of.items()}
    known = {model: [one.by_regression(factor) for factor in words] for model, one in of.items()}
    for model, at in bars(axis, place, kept).items():
        axis.plot(at, known[model], "_", color="#202020", markersize=9, markeredgewidth=1.6)
    said = [
        f"{style(place, model).title}, {word}: {one.value:.2f}, by regression {found:.2f}"
        for model, estimates in kept.items()
        for word, one, found in zip(words.values(), estimates, known[model], strict=True)
    ]
    axis.set(ylabel="share of the variance that is kept", xticks=range(len(words)), xticklabels=words.values())
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, "; ".join(said)


def _sheet(original: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, s, s, 3) and (n, m, s, s, 3) to one image: sources, a gap, their samples."""
    n, m, s = drawn.shape[:3]
    sheet = np.full((n * (s + 1) - 1, (m + 1) * (s + 1) + 2, 3), 255, np.uint8)
    for i in range(n):
        top = i * (s + 1)
        sheet[top : top + s, :s] = original[i]
        for j in range(m):
            left = (j + 1) * (s + 1) + 3
            sheet[top : top + s, left : left + s] = drawn[i, j]
    return sheet


def _arrays(place: Place, model: str) -> store.Arrays:
    return store.read_arrays(place.path("samples", TOKEN, model), SAMPLES)


def _shown(place: Place) -> list[str]:
    """The first run of each model that is sampled from. Raises MissingArtifact where there is none."""
    sampled = place.settings.sampled if TOKEN in place.settings.generated else ()
    shown = place.params.first_runs(sampled)
    if not shown:
        what, among = "no images are sampled from any model's features", f"sampled and {TOKEN} to its generated"
        raise nothing_to_draw(place, "samples", what, among)
    return shown
