"""Minibatch linear CKA (A.1, eq. 1 to 3) of every layer pair from two banks of packed U-centred Grams."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput

Array = NDArray[np.float64]


def cross_hsic(a: NDArray[Any], b: NDArray[Any], n: int) -> Array:
    """HSIC1 of every layer of a with every layer of b, in each minibatch of n images.

    a: (La, k, n(n-1)/2), b: (Lb, k, n(n-1)/2), the same images in the same order. Returns (k, La, Lb), float64.
    One matrix product per minibatch, so memory beyond the result is that of two minibatches in float64.
    """
    _fits(a, b, n)
    out = np.empty((a.shape[1], len(a), len(b)))
    for i in range(a.shape[1]):
        np.matmul(a[:, i].astype(np.float64), b[:, i].astype(np.float64).T, out=out[i])
    out *= 2 / (n * (n - 3))
    return out


def self_hsic(a: NDArray[Any], n: int) -> Array:
    """HSIC1 of every layer with itself: (L, k, n(n-1)/2) to (k, L), float64."""
    _fits(a, a, n)
    wide = a.astype(np.float64)
    return np.asarray(np.einsum("lkm,lkm->kl", wide, wide) * (2 / (n * (n - 3))))


def minibatch_cka(cross: Array, self_a: Array, self_b: Array, weights: NDArray[Any] | None = None) -> Array:
    """Eq. 2: the ratio of means over minibatches, never the mean of ratios. Nothing is clamped.

    cross: (k, La, Lb), self_a: (k, La), self_b: (k, Lb). weights: (r, k) multiplicities of the minibatches, one row per
    resample. Returns (La, Lb), or (r, La, Lb) with weights. A dead layer (see dead_layers) gives NaN.
    """
    k, la, lb = cross.shape
    w = np.ones((1, k)) if weights is None else np.asarray(weights, np.float64)
    top = (w @ cross.reshape(k, la * lb)).reshape(-1, la, lb)
    a, b = w @ self_a, w @ self_b
    alive = (a > 0)[:, :, None] & (b > 0)[:, None, :]
    bottom = np.sqrt(np.where(alive, a[:, :, None] * b[:, None, :], np.nan))
    result: Array = top / bottom
    return result[0] if weights is None else result


def dead_layers(self_a: Array) -> NDArray[np.intp]:
    """Layers whose activations do not vary over the images: their mean self-HSIC (k, L) is zero and CKA undefined."""
    return np.flatnonzero(~(self_a.mean(0) > 0))


def permute_images(packed: NDArray[Any], order: NDArray[np.integer]) -> NDArray[Any]:
    """The bank with the images of each minibatch in another order: the permuted-image null.

    packed: (L, k, n(n-1)/2). order: (k, n), image order[i, r] of minibatch i comes to row r.
    """
    k, n = order.shape
    i, j = np.triu_indices(n, 1)
    place = np.zeros((n, n), np.intp)
    place[i, j] = place[j, i] = np.arange(len(i))
    return np.stack([packed[:, b, place[order[b, i], order[b, j]]] for b in range(k)], axis=1)


def _fits(a: NDArray[Any], b: NDArray[Any], n: int) -> None:
    expected = (a.shape[1], n * (n - 1) // 2)
    if n < 4:
        raise InvalidInput("CKA", field="minibatch", seen=f"{n} images", expected="at least 4 (eq. 3 divides by n - 3)")
    for name, bank in (("first", a), ("second", b)):
        if bank.shape[1:] != expected:
            seen = f"{bank.shape[1:]} (minibatches, packed Gram)"
            raise InvalidInput("CKA", field=f"{name} bank", seen=seen, expected=expected)
