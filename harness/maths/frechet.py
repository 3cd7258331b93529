"""Fréchet distance of two sets of features, as Gaussians (Heusel et al., 2017, eq. 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput


def frechet(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of features (n, width) and (m, width), in their unit squared.

    Raises InvalidInput for another width, and for fewer than two rows.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        seen = f"shapes {a.shape} and {b.shape}"
        raise InvalidInput(
            "Fréchet distance", field="features", seen=seen, expected="(n, width) and (m, width), n and m at least 2"
        )
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    of_a, of_b = np.cov(a, rowvar=False).reshape(a.shape[1], -1), np.cov(b, rowvar=False).reshape(b.shape[1], -1)
    # The trace of (S_a S_b)^(1/2) is that of (S_a^(1/2) S_b S_a^(1/2))^(1/2), which is symmetric.
    values, vectors = np.linalg.eigh(of_a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ of_b @ root), 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(of_a) + np.trace(of_b) - 2 * shared)
