"""Every kind of artifact: its columns, axes, units and ranges."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.finetuning_tables import DRIFT, LINE, PATH, TRACE
from harness.artifacts.image_tables import INVARIANCE, SAMPLES
from harness.artifacts.schema import TEXT, Column, Schema

# Layer types in the order of their execution in a block; a block's own output comes last.
TYPES = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2", "block")
TOKENS = ("cls", "gap")
# How many of the most likely classes of two probes are compared (appendix D).
RANKED = (5, 10)

CURVE = Schema(
    "curve",
    1,
    {
        # How pre-training went; no rows for weights that were not trained here.
        "epoch": Column("int64", ("row",), "epochs", 1),
        "loss": Column("float64", ("row",), "the objective's own loss, mean over the epoch"),
        # Without a CLS token, of the pre-logits, and of the mean of the last map.
        "knn_cls": Column("float64", ("row",), "20-NN accuracy of the final CLS token on held-back training images", 0, 1),
        "knn_gap": Column("float64", ("row",), "the same of the mean patch token", 0, 1),
    },
)

LOSS = Schema(
    "loss",
    1,
    {
        # How the training of a diffusion model went.
        "step": Column("int64", ("row",), "steps", 1),
        "loss": Column("float64", ("row",), "mean over the steps since the row before"),
    },
)

BANK = Schema(
    "bank",
    2,
    {
        # U-centred Grams (eq. 3) of every layer, packed; the last layer is the pixels themselves.
        "gram": Column("float32", ("minibatch", "layer", "pair"), "squared activation"),
        "norm": Column("float64", ("layer",), "mean squared norm of an image's activations, before centring", 0),
        "layers": TEXT,
        # The CLS token and the mean of the patch tokens after each block, and last the pre-logits; where in a row
        # each lies is said by artifacts/layout.py.
        "train": Column("float16", ("bank", "feature"), "activation"),
        "validation": Column("float16", ("query", "feature"), "activation"),
        "tokens": Column("uint8", ("token_bytes",), "JSON"),
        "widths": Column("int64", ("depth",), "features of one token", 1),
        "train_label": Column("int64", ("bank",), "class", 0),
        "validation_label": Column("int64", ("query",), "class", 0),
        "train_image": Column("int64", ("bank",), "hash of the pixels"),
        "validation_image": Column("int64", ("query",), "hash of the pixels"),
    },
)

EMBEDDINGS = Schema(
    "embeddings",
    1,
    {
        # A network's output, image by image, with the hashes by which the images are known.
        "train": Column("float16", ("bank", "feature"), "activation"),
        "validation": Column("float16", ("query", "feature"), "activation"),
        "train_image": Column("int64", ("bank",), "hash of the pixels"),
        "validation_image": Column("int64", ("query",), "hash of the pixels"),
    },
)

SUMMARY = Schema(
    "summary",
    1,
    {
        # A bank in few numbers: parts are "gram <layer>", and "<split> <token> <depth>" of the features.
        "parts": TEXT,
        "rms": Column("float64", ("part",), "root mean square of the part's values", 0),
        "sample": Column("float64", ("part", "place"), "its values at places that are spread evenly over it"),
    },
)

# CKA, AGREE, SIMILARITY and FINAL are columns of one pair. A file holds a model's pairs with all its references.
CKA = Schema(
    "cka",
    4,
    {
        # Of layers of one type that both have, block by block: CKA of each minibatch, HSIC1 over the geometric mean of the two
        # self-HSIC1, in half precision: its rounding moves CKA over all minibatches by less than 0.0005. Zero for a dead layer.
        "each": Column("float16", ("type", "minibatch", "a", "b"), "CKA of one minibatch", -1.5, 1.5),
        "self_a": Column("float32", ("type", "minibatch", "a"), "HSIC1"),
        "self_b": Column("float32", ("type", "minibatch", "b"), "HSIC1"),
        # With the pixels, of which a layer may hold little.
        "pixels_a": Column("float32", ("type", "minibatch", "a"), "HSIC1"),
        "pixels_b": Column("float32", ("type", "minibatch", "b"), "HSIC1"),
        "pixels": Column("float32", ("minibatch",), "HSIC1"),
        # Minibatch CKA (eq. 2) of every layer pair; NaN in the rows and columns of a dead layer, where it is undefined.
        "cka": Column("float16", ("layer_a", "layer_b"), "CKA", -1.5, 1.5, undefined=True),
        "dead_a": Column("uint8", ("layer_a",), "does not vary over the images", 0, 1),
        "dead_b": Column("uint8", ("layer_b",), "does not vary over the images", 0, 1),
        "types": Column("uint8", ("type_bytes",), "JSON"),
        "layers_a": Column("uint8", ("bytes_a",), "JSON"),
        "layers_b": Column("uint8", ("bytes_b",), "JSON"),
    },
)

KNN = Schema(
    "knn",
    2,
    {
        "tokens": TEXT,
        "label": Column("int16", ("query",), "class", 0),
        # The class that the neighbours vote for, from the features after each block and from the pre-logits.
        "vote": Column("int16", ("token", "depth", "query"), "class", 0),
        "probe": Column("int16", ("query",), "class, linear probe on the first token after the final norm", 0),
        "probe_vote": Column("int16", ("query",), "class, neighbours in the probe's logits", 0),
    },
)

PIXELS = Schema(
    "pixels", 1, {"label": Column("int16", ("query",), "class", 0), "vote": Column("int16", ("query",), "class", 0)}
)

PROBE = Schema(
    "probe",
    2,
    {
        # Every configuration, trained on the training images but for the hold-out; NaN where it diverged.
        "holdout": Column("float32", ("set", "configuration"), "share right on the hold-out", 0, 1, undefined=True),
        # What choosing on the validation images would have seen: it decides nothing.
        "validation": Column("float32", ("set", "configuration"), "share right on validation images", 0, 1, undefined=True),
        # The best on the hold-out, trained anew on all training images; a bit for each validation image, eight in a byte.
        "best": Column("int64", ("set", "run"), "configuration", 0),
        "right": Column("uint8", ("set", "run", "octet"), "bits"),
        # The classes that the best probe on the final CLS token ranks first, most likely first.
        "top": Column("int16", ("query", "rank"), "class", 0),
        "label": Column("int16", ("query",), "class", 0),
        # What each training label costs in an online code by the best probes on the final CLS token, and on all blocks'.
        "code": Column("float32", ("coded", "train"), "log2(classes) bits", 0),
        "coded": Column("uint8", ("coded_bytes",), "JSON"),
        "sets": TEXT,
        "configurations": Column(
            "float64", ("configuration", "field"), "base rate, decay, L1, warm-up and length in epochs", 0
        ),
    },
)

AGREE = Schema(
    "agree",
    2,
    {
        # Tau-b of the 5 and the 10 most likely classes, and where the second model sees other images of the same class.
        "tau": Column("float16", ("k", "image"), "tau-b", -1, 1),
        "chance": Column("float16", ("k", "image"), "tau-b", -1, 1),
        "label": Column("int16", ("image",), "class", 0),
        "answer_a": Column("int16", ("image",), "class", 0),
        "answer_b": Column("int16", ("image",), "class", 0),
    },
)

SIMILARITY = Schema(
    "similarity",
    3,
    {
        # Of the tokens that both have, after each block.
        "tokens": TEXT,
        # Of k neighbours, how many an image has in common in both, at the same depth.
        "common": Column("uint8", ("token", "block", "image"), "neighbours"),
        "k": Column("int64", ("one",), "neighbours", 1),
        # Over each disjoint subset of the images, as in CKA.
        "each": Column("float16", ("token", "subset", "a", "b"), "CKA of one subset", -1.5, 1.5),
        "self_a": Column("float32", ("token", "subset", "a"), "HSIC1"),
        "self_b": Column("float32", ("token", "subset", "b"), "HSIC1"),
    },
)

FINAL = Schema(
    "final",
    2,
    {
        # Of both networks' pre-logits: CLS after the final norm, of those without it the pooled maps. As in SIMILARITY.
        "common": Column("uint8", ("image",), "neighbours"),
        "k": Column("int64", ("one",), "neighbours", 1),
        "cross": Column("float32", ("subset",), "HSIC1"),
        "self_a": Column("float32", ("subset",), "HSIC1"),
        "self_b": Column("float32", ("subset",), "HSIC1"),
    },
)

SWEEP = Schema(
    "sweep",
    1,
    {
        "batch": Column("float32", ("subset", "minibatch", "layer"), "CKA by minibatch size", -1.5, 1.5),
        "biased": Column("float32", ("subset", "minibatch", "layer"), "CKA by minibatch size, biased HSIC", -1.5, 1.5),
        "count": Column("float32", ("subset", "images", "layer"), "CKA by number of images", -1.5, 1.5),
        "minibatches": Column("int64", ("minibatch",), "images", 4),
        "images": Column("int64", ("images",), "images", 4),
        "layers": TEXT,
    },
)

# Of a detector: what AP is taken of, its statistics, and bands of the objects' areas.
TASKS = ("box", "mask")
STATISTICS = ("ap", "ap50", "ap75", "small", "medium", "large")
BANDS = ("all", "small", "medium", "large")

DETECT = Schema(
    "detect",
    1,
    {
        # On all validation images, in each bootstrap draw of them, and without each of them.
        "ap": Column("float32", ("task", "statistic", "resample"), "average precision", 0, 1),
        "edges": Column("float64", ("task", "edge"), "square pixels, between small, medium and large", 0),
        "loss": Column("float32", ("epoch",), "mean loss of the training"),
        # The matches of detections with objects, from which AP can be taken again: each category's by falling score.
        "image": Column("int16", ("detection",), "validation image", 0),
        "category": Column("int16", ("detection",), "category", 0),
        "matched": Column("int16", ("task", "band", "detection"), "a bit for each threshold of the overlap", 0, 1023),
        "uncounted": Column("int16", ("task", "band", "detection"), "a bit for each threshold of the overlap", 0, 1023),
        "objects": Column("int16", ("task", "class", "band", "validation"), "objects that count", 0),
        # The first validation images, the detections in them that are shown, and the names of all categories.
        "picture": Column("uint8", ("picture", "y", "x", "channel"), "grey level"),
        "shown_picture": Column("int16", ("shown",), "picture", 0),
        "shown_box": Column("float32", ("shown", "side"), "pixels: left, top, width, height"),
        "shown_mask": Column("uint8", ("shown", "y", "x"), "1 within the object", 0, 1),
        "shown_category": Column("int16", ("shown",), "category", 0),
        "shown_score": Column("float32", ("shown",), "score", 0, 1),
        "categories": TEXT,
    },
)

# Of a linear read-out of masks: all objects together, what is none, and objects by their area.
REGIONS = ("objects", "background", "small", "medium", "large")

SEGMENT = Schema(
    "segment",
    1,
    {
        "intersection": Column("int16", ("block", "region", "image"), "pixels", 0),
        "union": Column("int16", ("block", "region", "image"), "pixels", 0),
        "edges": Column("float64", ("edge",), "square pixels, between small, medium and large", 0),
    },
)


def pack(names: Sequence[str]) -> NDArray[np.uint8]:
    """Text as an array column: (bytes,) uint8 of a JSON list."""
    return np.frombuffer(json.dumps(list(names)).encode(), np.uint8)


def unpack(column: NDArray[Any]) -> list[str]:
    """The names that `pack` packed."""
    names: list[str] = json.loads(column.tobytes())
    return names


def checkpoint(tensors: Mapping[str, NDArray[Any]]) -> Schema:
    """The schema of a checkpoint with tensors of these shapes and types."""
    return Schema(
        "checkpoint",
        1,
        {
            name: Column(array.dtype.name, tuple(f"{name}.{i}" for i in range(array.ndim)), "weight")
            for name, array in tensors.items()
        },
    )


# Every kind of array artifact but checkpoints, whose columns are their network's.
ARRAYS = {
    schema.kind: schema
    for schema in (
        TRACE,
        DRIFT,
        LINE,
        BANK,
        EMBEDDINGS,
        SUMMARY,
        KNN,
        PIXELS,
        PROBE,
        SWEEP,
        DETECT,
        INVARIANCE,
        SAMPLES,
        SEGMENT,
    )
}
PAIRS = {schema.kind: schema for schema in (CKA, AGREE, SIMILARITY, FINAL)}
TABLES = {schema.kind: schema for schema in (CURVE, LOSS, PATH)}
