"""The figures of a profile's page, on the paper's axes, as inline SVG that takes the page's own colours."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

from harness.artifacts.errors import MissingArtifact
from harness.page import accuracy, finetuning, similarity
from harness.stages.place import Place


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
        ("Fig. 1", "CKA of all layers", "Layers by type, of each its blocks in order. One colour scale.", similarity.maps),
        ("Fig. 2", "CKA at the same depth, by layer type", "Of the first run of each method.", similarity.layer_types),
        (
            "Fig. 3",
            "CKA of block outputs across architectures, by distance in depth",
            "Blocks so many twelfths of the depth apart. Dashed: vision transformers of a JE and a REC objective.",
            similarity.distances,
        ),
        (
            "Fig. 4",
            "20-NN accuracy by block",
            "Thin lines are further runs of a method; the last point is the final norm.",
            accuracy.knn,
        ),
        (
            "Fig. 5, 6, Table 1",
            "What probes gain over a linear one on the final CLS token",
            "Points, with 95 % intervals.",
            accuracy.probes,
        ),
        (
            "Fig. 9",
            "CKA before and after fine-tuning",
            "A name that ends in _ft is of the model after it. Layers and colours as in Fig. 1.",
            similarity.finetuned_maps,
        ),
        (
            "Fig. 11",
            "Fine-tuning: how straight attention goes, and how far",
            "By block, of snapshots after each epoch; dotted, with the fewest snapshots. 1 is a straight way.",
            finetuning.paths,
        ),
        (
            "Beyond the paper",
            "Fine-tuning, epoch by epoch: whom a model's final features are like",
            "Debiased CKA of the final CLS token with the model's own start and end (grey) and each method as pre-trained.",
            finetuning.drifts,
        ),
        (
            "Beyond the paper",
            "Loss and accuracy on the straight line through the parameters, from before fine-tuning to after it",
            "On validation images; the head goes along, from zero.",
            finetuning.lines,
        ),
        ("Fig. A1", "CKA by minibatch size and by number of images", "Mean over layers, with their range.", similarity.sweep),
        (
            "Protocol",
            "20-NN accuracy during pre-training",
            "Final CLS token, on 1,024 training images; the table of models has accuracy on validation images.",
            accuracy.curves,
        ),
    ):
        try:
            with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif", "font.size": 8}):
                figures.append(Shown(where, title, caption, svg=_svg(*draw(place), title)))
        except MissingArtifact as error:
            figures.append(Shown(where, title, caption, missing=str(error)))
    return figures


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
