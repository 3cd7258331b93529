"""U-centred Gram matrices, in which HSIC1 (eq. 3) is an inner product (Szekely and Rizzo, 2014; Song et al., 2012).

A layer is reduced once to its packed U-centred Gram per minibatch; every later comparison is a matrix product.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from harness.artifacts.errors import InvalidInput


def centred_gram(features: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """U-centred Gram matrices, packed as the strict upper triangle in row order.

    features: (..., n, p), one or several minibatches of n images. Returns (..., n(n-1)/2) in dtype.
    HSIC1(K, L) = 2 <k, l> / (n(n-3)) for packed k and l. The Gram is taken in the features' own precision after
    removing each column's mean, which U-centring is blind to but float32 is not; the centring is in float64.
    Raises InvalidInput for fewer than four images (eq. 3 divides by n - 3) and for NaN or Inf features.
    """
    n = features.shape[-2]
    if n < 4:
        raise InvalidInput("CKA", field="minibatch", seen=f"{n} images", expected="at least 4 (eq. 3 divides by n - 3)")
    x = features - features.mean(-2, keepdim=True)
    gram = (x @ x.mT).double()
    # One NaN or Inf feature spoils its image's diagonal entry, so the small Gram tells of the large features.
    if not torch.isfinite(gram).all():
        bad = (~torch.isfinite(features)).nonzero()
        raise InvalidInput(
            "CKA",
            field="activations",
            seen=f"{len(bad)} NaN or Inf, first at {bad[0].tolist() if len(bad) else 'an overflow of the Gram matrix'}",
            expected="finite numbers",
        )
    gram.diagonal(dim1=-2, dim2=-1).zero_()
    row = gram.sum(-1) / (n - 2)
    total = row.sum(-1) / (n - 1)
    i, j = _upper(n, features.device)
    packed = gram[..., i, j] - row[..., i] - row[..., j] + total[..., None]
    return packed.to(dtype)


@functools.lru_cache(maxsize=16)
def _upper(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    i, j = torch.triu_indices(n, n, offset=1, device=device)
    return i, j
