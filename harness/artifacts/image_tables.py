"""Artifacts of images other than a profile's own: changed ones, and those that a diffusion model draws."""

from __future__ import annotations

from harness.artifacts.schema import TEXT, Column, Schema

INVARIANCE = Schema(
    "invariance",
    1,
    {
        # Of images with one thing changed; none of a model that is embeddings.
        "changes": Column("uint8", ("change_bytes",), "JSON"),
        "tokens": TEXT,
        # Of features after the final norm: squared distances, in units of the mean one between two images.
        "moved": Column("float16", ("change", "token", "image"), "to the changed image", 0),
        "others": Column("float16", ("token", "image"), "to the other images, mean", 0),
        "nearest": Column("uint8", ("change", "token", "image"), "no other image is nearer than the changed one", 0, 1),
        # After each block and, last, after the final norm: the mean distance to the changed image over that to the others.
        "by_block": Column("float32", ("change", "token", "depth"), "ratio of mean squared distances", 0),
    },
)

SAMPLES = Schema(
    "samples",
    3,
    {
        # Of images that a diffusion model draws from a model's features with noise of a level.
        "levels": Column("float64", ("level",), "standard deviations of the features", 0),
        "level": Column("int64", ("one",), "which of the levels claims are decided at", 0),
        "source": Column("int64", ("source",), "validation image", 0),
        "candidates": TEXT,
        # What each sample was composed from, about in [-1, 1], as drawn.
        "factors": Column("uint8", ("factor_bytes",), "JSON"),
        "factor": Column("float16", ("level", "source", "sample", "value"), "half ranges of the factor"),
        "distance": Column("float32", ("level", "source", "sample", "candidate"), "mean squared grey level", 0),
        # As a supervised network tells them of the samples and of the sources, and those that the sources have.
        "sample_class": Column("int16", ("level", "source", "sample"), "class", 0),
        "source_class": Column("int16", ("source",), "class", 0),
        "label": Column("int16", ("source",), "class", 0),
        # Between features of the supervised network; the floor is that between halves of other validation images.
        "frechet": Column("float64", ("level",), "squared activation"),
        "frechet_floor": Column("float64", ("one",), "squared activation"),
        "held_out": Column("float64", ("level",), "mean squared error of v on other validation images", 0),
        # What a linear regression finds in the same features of the same images.
        "read_out": Column("float64", ("level", "value"), "coefficient of determination, R2"),
        # The first sources and their samples at the level of the claims.
        "original": Column("uint8", ("shown", "y", "x", "channel"), "grey level"),
        "picture": Column("uint8", ("shown", "sample", "y", "x", "channel"), "grey level"),
    },
)
