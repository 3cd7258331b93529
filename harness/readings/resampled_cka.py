"""CKA of two models' layers in every resample of the units: the bootstrap draws and the leave-one-out values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput
from harness.evidence.resampling import FloatArray, resample_weights


class ResampledCka(NamedTuple):
    """cka: (1 + draws + n, type, 12, 12), or (1 + draws + n, type, 12) of blocks at one depth: on all units, by bootstrap draw,
    and without each unit.

    undefined_a, undefined_b: (type, 12), layers whose self-similarity vanishes in some of these.
    """

    cka: FloatArray
    undefined_a: NDArray[np.bool_]
    undefined_b: NDArray[np.bool_]


def resampled_cka(
    cross: FloatArray,
    self_a: FloatArray,
    self_b: FloatArray,
    pixels: Any,
    dead: tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None],
    draws: int,
    title: str,
    *,
    same_depth: bool = False,
) -> ResampledCka:
    """CKA (eq. 2) on all units, in each bootstrap draw, and without each unit.

    same_depth: of blocks at one depth alone, (1 + draws + n, type, 12), for a twelfth of the work.
    cross: (type, unit, 12, 12) HSIC1 of the first model's blocks with the second's; self_a, self_b: (type, unit, 12). pixels:
    HSIC1 of the pixels with themselves (unit,) and with the layers, shaped as self_a and self_b, to take out what the pixels
    explain; or None. dead: (type, 12) of both models, layers that do not vary. title: of errors.
    Raises InvalidInput where the pixels do not vary in some resample.
    """
    n = cross.shape[1]
    weights = resample_weights(n, draws)
    cells = np.einsum("tuii->tui", cross) if same_depth else cross
    # How a row of the first model's blocks meets a row of the second's.
    row, column = (np.s_[...], np.s_[...]) if same_depth else (np.s_[..., :, None], np.s_[..., None, :])
    top, own_a, own_b = (_sums(weights, array) for array in (cells, self_a, self_b))
    if pixels is not None:
        own, with_a, with_b = (weights @ pixels[0])[:, None, None], _sums(weights, pixels[1]), _sums(weights, pixels[2])
        if not (own > 0).all():
            seen = "not positive in every resample"
            raise InvalidInput(title, field="self-HSIC of the pixels", seen=seen, expected="images that vary")
        # In place, as below: the cells are sixteen megabytes.
        top -= (with_a / own)[row] * with_b[column]
        own_a, own_b = own_a - with_a**2 / own, own_b - with_b**2 / own
    undefined_a, undefined_b = _undefined(own_a, dead[0]), _undefined(own_b, dead[1])
    # Roots of the layers' own sums, which are few.
    cka = top
    cka *= (1 / np.sqrt(np.where(undefined_a, np.nan, own_a)))[row]
    cka *= (1 / np.sqrt(np.where(undefined_b, np.nan, own_b)))[column]
    cka.flags.writeable = False
    return ResampledCka(cka, undefined_a, undefined_b)


def _undefined(own: FloatArray, dead: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """(r, type, block) self-HSIC to (type, block): where CKA has no denominator in some resample."""
    vanishing = np.asarray(~(own > 0).all(axis=0))
    return vanishing if dead is None else vanishing | dead


def _sums(weights: FloatArray, values: NDArray[Any]) -> FloatArray:
    """Weighted sums over the units: (r, n) and (type, n, ...) to (r, type, ...)."""
    result: FloatArray = np.tensordot(weights, values, (1, 1))
    return result
