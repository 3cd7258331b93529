"""Weighted k-nearest-neighbour classification on cosine similarity (Wu et al., 2018; Fig. 4 of the paper, k = 20)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.artifacts.errors import InvalidInput


def classify(
    bank: Tensor, labels: Tensor, queries: Tensor, *, classes: int, k: int, temperature: float, chunk: int = 1024
) -> Tensor:
    """The class each query's neighbours vote for: weights exp(cosine / temperature) of the k nearest bank rows.

    bank: (m, d) float. labels: (m,) int64 in [0, classes). queries: (n, d) float. Returns (n,) int64.
    Memory grows with chunk x m, not with n. Ties go to the lower class.
    Raises InvalidInput when the bank has fewer than k rows.
    """
    if len(bank) < k:
        raise InvalidInput("k-NN", field="bank", seen=f"{len(bank)} images", expected=f"at least k = {k}")
    bank = F.normalize(bank, dim=1)
    answers = []
    for part in queries.split(chunk):
        near, index = (F.normalize(part, dim=1) @ bank.T).topk(k, dim=1)
        votes = torch.zeros(len(part), classes, dtype=near.dtype, device=near.device)
        # Relative to the nearest neighbour, so that a small temperature cannot overflow the exponential.
        votes.scatter_add_(1, labels[index], ((near - near[:, :1]) / temperature).exp())
        answers.append(votes.argmax(1))
    return torch.cat(answers)
