"""Artifacts of fine-tuning: its columns, axes, units and ranges."""

from __future__ import annotations

from harness.artifacts.schema import TEXT, Column, Schema

PATH = Schema(
    "path",
    1,
    {
        # How fine-tuning moved each group of parameters, by the epochs between the snapshots that its length is taken from.
        "every": Column("int64", ("row",), "epochs", 1),
        "block": Column("int64", ("row",), "block, -1 outside of blocks", -1),
        "kind": Column("str", ("row",), "attention (qkv and proj), fc, norm or other"),
        "net": Column("float64", ("row",), "Euclidean norm of the end less the start", 0),
        "length": Column("float64", ("row",), "sum of the norms of the steps between snapshots", 0),
        "start": Column("float64", ("row",), "norm at the start", 0),
        "steps": Column("int64", ("row",), "steps", 1),
    },
)

TRACE = Schema(
    "trace",
    1,
    {
        # The pre-logits of a network while it is fine-tuned, before the first epoch and after each; and the last head.
        "features": Column("float16", ("snapshot", "image", "feature"), "activation, final CLS token"),
        "image": Column("int64", ("image",), "hash of the pixels"),
        "head_weight": Column("float32", ("class", "feature"), "weight"),
        "head_bias": Column("float32", ("class",), "weight"),
    },
)

DRIFT = Schema(
    "drift",
    1,
    {
        # CKA of each snapshot of a fine-tuning with what is named in `to`: its start, its end, each reference as pre-trained.
        "to": TEXT,
        "cross": Column("float32", ("subset", "snapshot", "to"), "HSIC1 of final features"),
        "self_snapshot": Column("float32", ("subset", "snapshot"), "HSIC1"),
        "self_to": Column("float32", ("subset", "to"), "HSIC1"),
    },
)

LINE = Schema(
    "line",
    1,
    {
        # On the straight line through all parameters, head included, from before fine-tuning (0) to after it (1).
        "share": Column("float64", ("point",), "share of the way", 0, 1),
        "loss": Column("float32", ("point", "image"), "cross-entropy, nats", 0),
        "right": Column("uint8", ("point", "image"), "answered right", 0, 1),
    },
)
