"""Second opinions on CKA: mutual nearest neighbours, and debiased CKA over all images at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput

Array = NDArray[np.float64]
# Features of the same images, one array a layer.
Layers = Sequence[NDArray[Any]]


def hsic1(a: Layers, b: Layers) -> Array:
    """HSIC1 (eq. 3) with linear kernels between every features of a and every features of b, without a Gram matrix.

    a, b: La and Lb features (n, p) of any widths p, the same images in the same order. Returns (La, Lb), float64.
    With columns centred, to which U-centring is blind, row i of the Gram without its diagonal sums to minus the squared
    norm of image i, so that all of eq. 3 comes from |A'B|^2 and the images' squared norms.
    """
    n, *others = [len(f) for f in (*a, *b)]
    if n < 4 or any(m != n for m in others):
        seen = f"{' and '.join(map(str, sorted({n, *others})))} images"
        raise InvalidInput("CKA", field="images", seen=seen, expected="the same number, at least 4 (eq. 3 divides by n - 3)")
    x, y = ([np.asarray(f, np.float64) - np.asarray(f, np.float64).mean(0) for f in layers] for layers in (a, b))
    u, v = (np.stack([np.einsum("np,np->n", f, f) for f in layers]) for layers in (x, y))
    wide, starts = np.concatenate(y, 1), np.cumsum([0, *(f.shape[1] for f in y[:-1])])
    squares = np.stack([np.add.reduceat(((f.T @ wide) ** 2).sum(0), starts) for f in x])
    joint = u @ v.T
    totals = u.sum(1)[:, None] * v.sum(1)[None, :]
    result: Array = (squares - joint + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * joint) / (n * (n - 3))
    return result


def neighbours(features: NDArray[Any], k: int) -> NDArray[np.intp]:
    """(n, k): the k nearest neighbours of each image by cosine, without itself, in no order. features: (n, p).

    Raises InvalidInput unless k < n, and for features of norm 0.
    """
    n = len(features)
    if not 1 <= k < n:
        raise InvalidInput("mutual k-NN", field="k", seen=k, expected=f"at least 1 and below the {n} images")
    x = np.asarray(features, np.float32)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    if not norm.all():
        raise InvalidInput("mutual k-NN", field="features", seen="an image of norm 0", expected="a direction for every image")
    x = x / norm
    far = -x @ x.T
    np.fill_diagonal(far, np.inf)
    return np.argpartition(far, k - 1, axis=1)[:, :k]


def in_common(a: NDArray[np.intp], b: NDArray[np.intp]) -> NDArray[np.intp]:
    """(n,): how many neighbours each image has in common in two feature sets (mutual k-NN; Huh et al., 2024).

    a, b: (n, k), the neighbours of each image. Of k neighbours chance gives k^2 / (n - 1).
    """
    n = len(b)
    rows = np.arange(n)[:, None]
    among = np.zeros((n, n), bool)
    among[rows, b] = True
    counts: NDArray[np.intp] = among[rows, a].sum(1)
    return counts
