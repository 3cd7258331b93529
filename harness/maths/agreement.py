"""Agreement of two models' class rankings of an image, and of their top-1 predictions (appendix D)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput

Array = NDArray[np.float64]

# Comparisons of two classes held at once (8 MiB of each kind).
_BLOCK = 1 << 23


def tau_b(a: NDArray[Any], b: NDArray[Any]) -> Array:
    """Kendall's tau-b of two models' rankings of each image, over the classes that either of them ranks.

    a, b: (n, k) classes, most likely first, each once a row. A class that a model does not rank ties with all others that it
    does not rank, behind its k. Returns (n,), in [-1, 1]; NaN where k = 1 and both name the same class: nothing is ordered.
    Raises InvalidInput on other shapes, or a class twice in a row.
    """
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] < 1:
        raise InvalidInput("agreement", field="rankings", seen=f"{a.shape} and {b.shape}", expected="(n, k) twice")
    for name, ranks in (("first", a), ("second", b)):
        ordered = np.sort(ranks, axis=1)
        twice = (ordered[:, 1:] == ordered[:, :-1]).any(1)
        if twice.any():
            row = int(np.flatnonzero(twice)[0])
            seen = f"image {row}: {ranks[row].tolist()}"
            raise InvalidInput("agreement", field=f"{name} ranking", seen=seen, expected="each class once")
    step = max(1, _BLOCK // (2 * a.shape[1]) ** 2)
    return np.concatenate([_tau_b(a[i : i + step], b[i : i + step]) for i in range(0, len(a), step)] or [np.zeros(0)])


def _tau_b(a: NDArray[Any], b: NDArray[Any]) -> Array:
    k = a.shape[1]
    items = np.concatenate([a, b], axis=1)
    # What both rank stands among the first k already.
    there = np.concatenate([np.ones(a.shape, bool), ~(b[:, :, None] == a[:, None, :]).any(2)], axis=1)
    signs = []
    for ranks in (a, b):
        equal = items[:, :, None] == ranks[:, None, :]
        place = np.where(equal.any(2), equal.argmax(2), k)
        signs.append(np.sign(place[:, :, None] - place[:, None, :]).astype(np.int8))
    both = there[:, :, None] & there[:, None, :]
    one, other = (np.where(both, sign, 0) for sign in signs)
    top = (one * other).sum((1, 2), dtype=np.float64)
    ties = [(sign != 0).sum((1, 2), dtype=np.float64) for sign in (one, other)]
    bottom = np.sqrt(ties[0] * ties[1])
    tau: Array = np.divide(top, bottom, out=np.full(len(a), np.nan), where=bottom > 0)
    return tau


def macro_f1(truth: NDArray[Any], answer: NDArray[Any], classes: int) -> float:
    """F1 of one model's top-1 classes, (n,), against another's as the truth, mean over the classes that either names.

    Micro F1 of single labels is the share of equal answers. Raises InvalidInput on other shapes, no images, or a class outside
    [0, classes).
    """
    if truth.shape != answer.shape or truth.ndim != 1 or not len(truth):
        raise InvalidInput("agreement", field="answers", seen=f"{truth.shape} and {answer.shape}", expected="(n,) twice")
    both = np.concatenate([truth, answer])
    if both.min() < 0 or both.max() >= classes:
        raise InvalidInput("agreement", field="answers", seen=f"{both.min()} to {both.max()}", expected=f"0 to {classes - 1}")
    named = np.bincount(truth, minlength=classes) + np.bincount(answer, minlength=classes)
    equal = np.bincount(truth[truth == answer], minlength=classes)
    return float((2 * equal[named > 0] / named[named > 0]).mean())


def shifted_within_class(label: NDArray[Any], by: int) -> NDArray[np.intp]:
    """Another image of the same class for each image: the one `by` places further among those of its class, in a circle.

    What two models still agree in when one of them sees that image is due to their accuracies and confusions by class alone.
    label: (n,). Returns (n,) indices. Raises InvalidInput when by is not positive, or a class has no more images than that.
    """
    order = np.argsort(label, kind="stable")
    _, start, count = np.unique(label[order], return_index=True, return_counts=True)
    if by < 1 or (count <= by).any():
        raise InvalidInput(
            "agreement", field="shift", seen=by, expected=f"1 to {int(count.min()) - 1}, below every class's images"
        )
    place = np.arange(len(label)) - np.repeat(start, count)
    other = np.repeat(start, count) + (place + by) % np.repeat(count, count)
    result = np.empty(len(label), np.intp)
    result[order] = order[other]
    return result
