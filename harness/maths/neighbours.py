"""Weighted k-nearest-neighbour classification on cosine similarity (Wu et al., 2018; Fig. 4 of the paper, k = 20)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.artifacts.errors import InvalidInput

# Bank rows of one matrix product.
BLOCK = 4096


@torch.inference_mode()
def classify(
    bank: Tensor | Iterable[Tensor],
    labels: Tensor,
    queries: Tensor,
    *,
    classes: int,
    k: int,
    temperature: float,
    chunk: int = 256,
) -> Tensor:
    """The class each query's neighbours vote for: weights exp(cosine / temperature) of the k nearest bank rows.

    bank: (m, d) float, or its rows part by part, of which one is in memory at a time. labels: (m,) int64 in [0, classes).
    queries: (n, d) float. Returns (n,) int64. Memory grows with chunk x rows of a part, and with n x k. Ties go to the lower
    class. Raises InvalidInput when the bank has fewer than k rows, or not a row for each label.
    """
    m, unit, seen = len(labels), F.normalize(queries, dim=1), 0
    if m < k:
        raise InvalidInput("k-NN", field="bank", seen=f"{m} images", expected=f"at least k = {k}")
    near, rows = queries.new_empty(len(queries), 0), labels.new_empty(len(queries), 0)
    for part in [bank] if isinstance(bank, Tensor) else bank:
        found, place = _nearest(F.normalize(part, dim=1), unit, min(k, len(part)), chunk)
        near, rows = torch.cat([near, found], 1), torch.cat([rows, place + seen], 1)
        if near.shape[1] > k:
            near, best = near.topk(k, dim=1, sorted=False)
            rows = rows.gather(1, best)
        seen += len(part)
    if seen != m:
        raise InvalidInput("k-NN", field="labels", seen=m, expected=f"one for each of the bank's {seen} rows")
    votes = torch.zeros(len(queries), classes, dtype=near.dtype, device=near.device)
    # Relative to the nearest neighbour, so that a small temperature cannot overflow the exponential.
    votes.scatter_add_(1, labels[rows], ((near - near.amax(1, keepdim=True)) / temperature).exp())
    return votes.argmax(1)


def _nearest(bank: Tensor, queries: Tensor, k: int, chunk: int) -> tuple[Tensor, Tensor]:
    """Cosines of each query with its k nearest rows, and which they are: (n, k) each, of unit rows."""
    m = len(bank)
    # The k nearest rows lie in the k groups whose nearest rows are nearest, so only those groups are searched. Group j has
    # the rows j, j + groups, j + 2 groups and so on; the last rows of some groups do not exist.
    size = math.isqrt(m // k)
    groups = -(-m // size)
    members = torch.arange(size, device=bank.device) * groups
    similarity = bank.new_full((min(chunk, len(queries)), groups * size), -torch.inf)
    found = []
    for part in queries.split(chunk):
        rows = similarity[: len(part)]
        # In blocks that stay in cache: a tenth faster than one product at 50,000 x 768.
        for start in range(0, m, BLOCK):
            torch.mm(part, bank[start : start + BLOCK].T, out=rows[:, start : min(start + BLOCK, m)])
        best = rows.unflatten(1, (size, groups)).amax(1).topk(k, dim=1, sorted=False).indices
        candidates = (best[:, None] + members[:, None]).flatten(1)
        near, place = rows.gather(1, candidates).topk(k, dim=1, sorted=False)
        found.append((near, candidates.gather(1, place)))
    near, rows = (torch.cat(parts) for parts in zip(*found, strict=True))
    return near, rows
