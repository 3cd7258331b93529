"""The figures of a profile's page, on the paper's axes, as inline SVG that takes the page's own colours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

from harness.artifacts.errors import MissingArtifact
from harness.page import accuracy, detection, finetuning, invariance, samples, segmentation, similarity
from harness.stages.place import Place


@dataclass(frozen=True)
class Shown:
    """A figure of the page. where: the paper's figures and tables whose numbers it shows; empty of our own. message: what the
    paper says about it. svg: empty where it could not be drawn, and missing says why and what would make it. by_type: the same
    figure with layers ordered by type, if it has layers.
    """

    where: tuple[str, ...]
    title: str
    caption: str
    message: str = ""
    svg: str = ""
    by_type: str = ""
    missing: str = ""

    @property
    def label(self) -> str:
        """What comes before the title."""
        return ", ".join(self.where) or "Beyond the paper"


# In the paper's order.
_FIGURES: tuple[tuple[Shown, Callable[..., tuple[Figure, str]]], ...] = (
    (
        Shown(
            ("Fig. 1",),
            "CKA of all layers",
            "Layers in the order in which they run, with the numbers of their blocks; one colour scale.",
            "JE models show high similarity to each other and are less similar to REC models.",
        ),
        similarity.maps,
    ),
    (
        Shown(
            ("Fig. 2",),
            "CKA at the same depth, by layer type",
            "Of the first run of each method.",
            "Attention and normalization layers of JE and REC models differ more than fully-connected layers do.",
        ),
        similarity.layer_types,
    ),
    (
        Shown(
            ("Fig. 3",),
            "CKA of block outputs across architectures, by distance in depth",
            "Blocks so many twelfths of the depth apart. Dashed: vision transformers of a JE and a REC objective.",
            "Similar objectives give similar representations even across different architectures.",
        ),
        similarity.distances,
    ),
    (
        Shown(
            ("Fig. 4",),
            "20-NN accuracy by block",
            "Thin lines: further runs of a method.",
            "Class separability of MAE decreases after the first blocks. The CLS token of the last blocks of JE models holds "
            "much class information.",
        ),
        accuracy.knn,
    ),
    (
        Shown(
            ("Fig. 5", "Fig. 6", "Table 1"),
            "What probes gain over a linear one on the final CLS token",
            "Points and 95 % intervals.",
            "Deeper probes and intermediate layers add accuracy for MAE, and hardly any for JE models.",
        ),
        accuracy.probes,
    ),
    (
        Shown(
            ("Fig. 7", "Fig. A7", "Fig. A8"),
            "Images drawn from nothing but the final CLS token",
            "By one diffusion model of scenes for all. Left, sources; right, samples, which start from the same noise for "
            "every model. What all samples of a source share is in the features.",
            "Samples of JE models show the object as in the source and mirrored; those of MAE keep the orientation.",
        ),
        samples.pictures,
    ),
    (
        Shown(
            ("Fig. 7", "Fig. A7"),
            "How many of the drawn images show the mirror image of their source",
            "With 95 % intervals over sources. Noise on the features hides what they hold below it. Place and object: which of "
            "four scenes a sample is nearest to, with the place, the object, both or neither mirrored. Dotted: chance.",
            "JE features are invariant to horizontal flips, MAE features are not until MAE is fine-tuned.",
        ),
        samples.mirrored,
    ),
    (
        Shown(
            (),
            "What of a scene the final CLS token holds: what all images have in common that are drawn from it",
            "Share of a factor's variance that samples of one source share, with 95 % intervals over sources. Dashes: what a "
            "linear regression finds in the same features; where samples keep much less, the generator is too weak.",
        ),
        samples.profile,
    ),
    (
        Shown(
            ("Fig. 7", "Fig. A7"),
            "How far the final CLS token moves when one thing in the image changes",
            "Squared distance between an image and the changed one, over that between two images, with 95 % intervals. 0 is "
            "invariant.",
            "JE features are invariant to horizontal flips, MAE features are not until MAE is fine-tuned.",
        ),
        invariance.profile,
    ),
    (
        Shown(
            ("Table 2", "Table A6", "Table A7"),
            "Average precision of detectors, by the size of the objects",
            "Mask R-CNN on the patch tokens of the last block; 95 % intervals over images. Sizes are terciles of the area of "
            "boxes or of masks, and COCO's own on COCO.",
            "On frozen features MAE is better than MoCo-v3 on the whole and on small objects, and worse on large ones. End to "
            "end it is better than MoCo-v3 and DINO on all of them.",
        ),
        detection.by_size,
    ),
    (
        Shown(
            ("Fig. 8",),
            "Average precision of detectors that read further blocks",
            "On frozen features, with 95 % intervals over images. The last block twice has as many channels as two blocks.",
            "Both REC and JE models detect better with additional intermediate features.",
        ),
        detection.by_blocks,
    ),
    (
        Shown(
            (),
            "What the detectors find",
            "The first validation images, with detections of a score of at least 0.5: box, mask and category.",
        ),
        detection.pictures,
    ),
    (
        Shown(
            (),
            "How much of objects' masks a linear read-out finds in the patch tokens, by block",
            "A logistic regression for each pixel of a patch, on scenes of one to four digits. Sizes are terciles of the area.",
        ),
        segmentation.by_block,
    ),
    (
        Shown(
            ("Fig. 9",),
            "CKA before and after fine-tuning",
            "Layers and colours as in Fig. 1.",
            "Fine-tuning makes MAE more similar to a pre-trained MoCo-v3.",
        ),
        similarity.finetuned_maps,
    ),
    (
        Shown(
            ("Fig. 11",),
            "Fine-tuning: path efficiency and displacement of the attention weights",
            "By block, from snapshots after each epoch; dotted, from the fewest snapshots. Efficiency 1 is a straight path.",
            "Attention weights of MAE move to their new values more directly than those of JE models.",
        ),
        finetuning.paths,
    ),
    (
        Shown(
            (),
            "Fine-tuning, epoch by epoch: CKA with each pre-trained model",
            "Debiased CKA of the final CLS token with the model's own start and end (grey) and with each pre-trained method.",
        ),
        finetuning.drifts,
    ),
    (
        Shown(
            (),
            "Loss and accuracy on the line between the weights before and after fine-tuning",
            "On validation images; the head is interpolated too, from zero.",
        ),
        finetuning.lines,
    ),
    (
        Shown(
            ("Fig. A1",),
            "CKA by minibatch size and by number of images",
            "Mean over layers, with their range.",
            "Minibatch CKA is consistent from minibatches of 32 and 1,024 images on.",
        ),
        similarity.sweep,
    ),
    (
        Shown(
            (),
            "20-NN accuracy during pre-training",
            "Final CLS token, on 1,024 training images; the table of models has accuracy on validation images.",
        ),
        accuracy.curves,
    ),
)
# Those that have layers.
_BY_TYPE = (similarity.maps, similarity.finetuned_maps)


def all_figures(place: Place) -> list[Shown]:
    """Every figure in the paper's order. Raises InvalidInput for a broken artifact; what is missing is told in its place."""
    return [_drawn(place, shown, draw) for shown, draw in _FIGURES]


def _drawn(place: Place, shown: Shown, draw: Callable[..., tuple[Figure, str]]) -> Shown:
    style = {"svg.fonttype": "none", "svg.hashsalt": shown.title, "font.family": "sans-serif", "font.size": 9}
    small = dict.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 8)
    try:
        with mpl.rc_context(style | small | {"axes.titlesize": 10}):
            svg = _svg(*draw(place), shown.title)
            by_type = f"{shown.title}, by layer type"
            return replace(shown, svg=svg, by_type=_svg(*draw(place, by_type=True), by_type) if draw in _BY_TYPE else "")
    except MissingArtifact as error:
        return replace(shown, missing=str(error))


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
    # matplotlib names an image by its content, so that two of the same content have one id; nothing refers to it.
    text = re.sub(r'(<image\b[^>]*?)\s+id="[^"]*"', r"\1", text)
    text = re.sub(r'\bid="', f'id="{own}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{own}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(f"{title}. {said}")}" ', 1)
