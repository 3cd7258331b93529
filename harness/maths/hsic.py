"""U-centred Gram matrices, in which HSIC1 (eq. 3) is an inner product (Szekely and Rizzo, 2014; Song et al., 2012).

A layer is reduced once to its packed U-centred Gram per minibatch; every later comparison is a matrix product.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness.artifacts.errors import InvalidInput

# Elements of the features that are centred and multiplied at once on a CPU: 2 MiB in float32, which stays in cache.
SLAB = 2**19


def centred_gram(features: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """U-centred Gram matrices of features, packed as the strict upper triangle in row order.

    features: (..., n, p), one or several minibatches of n images. Returns (..., n(n-1)/2) in dtype.
    HSIC1(K, L) = 2 <k, l> / (n(n-3)) for packed k and l.
    Raises InvalidInput for fewer than four images (eq. 3 divides by n - 3) and for NaN or Inf features.
    """
    refuse_non_finite(features, "CKA")
    return u_centre(gram(features)[0], dtype)


def gram(features: Tensor) -> tuple[Tensor, Tensor]:
    """Gram matrices after removing each column's mean, to which U-centring is blind but float32 is not.

    features: (..., n, p). Returns (..., n, n) in the features' precision, and the mean squared norm of a row
    before centring, (...,). A slab of columns is centred and multiplied while it is in cache, so that features larger
    than the cache are read from memory once and never copied whole.
    """
    *lead, n, p = features.shape
    if n < 4:
        raise InvalidInput("CKA", field="minibatch", seen=f"{n} images", expected="at least 4 (eq. 3 divides by n - 3)")
    flat = features.reshape(-1, n, p)
    k = len(flat)
    slabs = math.ceil(flat.numel() / SLAB) if flat.device.type == "cpu" else 1
    width = math.ceil(p / slabs / 64) * 64  # whole cache lines
    # The mean as a product: a reduction over rows is several times slower on slabs that are not contiguous.
    average = flat.new_full((1, 1, n), 1 / n).expand(k, 1, n)
    products, norm = flat.new_zeros(k, n, n), flat.new_zeros(k, 1, 1)
    for part in flat.split(width, -1):
        mean = torch.bmm(average, part)
        x = part - mean
        products.baddbmm_(x, x.mT)
        norm.baddbmm_(mean, mean.mT)
    norm = torch.add(norm.view(k), products.diagonal(dim1=-2, dim2=-1).sum(-1), alpha=1 / n)
    return products.reshape(*lead, n, n), norm.reshape(lead)


def u_centre(grams: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """U-centring (eq. 3 as an inner product) in float64: (..., n, n) to packed (..., n(n-1)/2) in dtype.

    The diagonal, to which HSIC1 is blind, is ignored. Raises InvalidInput on NaN or Inf.
    """
    n = grams.shape[-1]
    row = (grams.sum(-1, dtype=torch.float64) - grams.diagonal(dim1=-2, dim2=-1)) / (n - 2)
    total = row.sum(-1, keepdim=True) / (n - 1)
    # NaN and Inf, on the diagonal too, reach the total: Inf - Inf is NaN.
    if not torch.isfinite(total).all():
        raise InvalidInput("CKA", field="Gram matrix", seen="NaN or Inf", expected="finite activations that do not overflow")
    share = row - total / 2
    # Row by row, which needs no float64 copy of the Grams and gathers contiguous runs instead of single elements.
    runs = [(grams[..., i, i + 1 :] - share[..., i : i + 1] - share[..., i + 1 :]).to(dtype) for i in range(n - 1)]
    return torch.cat(runs, -1)


def refuse_non_finite(features: Tensor, where: str) -> None:
    """Raise InvalidInput with the count and the first place of NaN or Inf among features (..., n, p), if there is any."""
    bad = (~torch.isfinite(features)).nonzero()
    if len(bad):
        seen = f"{len(bad)} NaN or Inf, first at {bad[0].tolist()}"
        raise InvalidInput(where, field="activations", seen=seen, expected="finite numbers")
