"""Objects of the embedded world: small grey images of one thing each, split by source image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput, MissingArtifact

SOURCES = ("digits", "mnist", "fashion_mnist")


@dataclass(frozen=True)
class Sprites:
    """alpha: (n, s, s) uint8 opacity; label: (n,) int64 in [0, classes); source: (n,) int64 id in the source data set."""

    alpha: NDArray[np.uint8]
    label: NDArray[np.int64]
    source: NDArray[np.int64]
    classes: int


def load(name: str, split: str, root: Path | None = None) -> Sprites:
    """Sprites of one split ("train" or "validation"); the two splits share no source image.

    name: "digits" (scikit-learn's 1,797 handwritten digits, 8 x 8, shipped with the library) or torchvision's
    "mnist" and "fashion_mnist" (28 x 28), read from root and never downloaded.
    """
    if split not in ("train", "validation"):
        raise InvalidInput("sprites", field="split", seen=split, expected="train or validation")
    if name == "digits":
        alpha, label = _digits()
        source = np.arange(len(label))
        keep = (source % 5 == 0) == (split == "validation")
    elif name in SOURCES:
        alpha, label = _torchvision(name, split, root)
        source = np.arange(len(label))
        keep = np.ones(len(label), bool)
    else:
        raise InvalidInput("sprites", field="name", seen=name, expected=f"one of {', '.join(SOURCES)}")
    return Sprites(alpha[keep], label[keep], source[keep], int(label.max()) + 1)


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    data = load_digits()
    grey = data.images.astype(np.int64)  # 0..16
    return np.minimum(grey * 16, 255).astype(np.uint8), data.target.astype(np.int64)


def _torchvision(name: str, split: str, root: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from torchvision import datasets

    kind = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[name]
    try:
        data = kind(str(root), train=split == "train", download=False)
    except RuntimeError as error:
        raise MissingArtifact(
            root or Path("."),
            f"torchvision's {kind.__name__} is not there",
            next_step=f"set data.root in params.yaml to a folder where torchvision has downloaded {kind.__name__}",
        ) from error
    return data.data.numpy().astype(np.uint8), data.targets.numpy().astype(np.int64)
