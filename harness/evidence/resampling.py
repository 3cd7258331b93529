"""What all evidence shares: the blocks of a network of twelve by depth, and how estimates are resampled."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Early, middle and late blocks of a network of twelve; "the last three blocks" (3.1) are the late ones.
LO, MID, HI = tuple(range(4)), tuple(range(4, 9)), tuple(range(9, 12))
BLOCKS = LO + MID + HI

DRAWS, SEED = 2000, 0

# One unit in this many chooses the largest of many quantities; choosing needs less precision than judging.
CHOOSES = 4

# Weights of one call of a statistic, in elements (32 MiB): 50,000 images need 20 GB of leave-one-out rows at once.
BLOCK = 1 << 22


@lru_cache(maxsize=6)
def bootstrap_counts(seed: int, n: int, draws: int) -> NDArray[np.int32]:
    """How often each of n units is drawn in each bootstrap sample: (draws, n), rows sum to n, read-only.

    The same arguments give the same counts everywhere, which is what pairs estimates made in different places.
    """
    counts = np.random.Generator(np.random.PCG64(seed)).multinomial(n, np.full(n, 1 / n), size=draws).astype(np.int32)
    counts.flags.writeable = False
    return counts


def blocks_of_counts(seed: int, n: int, draws: int, rows: int) -> Iterator[FloatArray]:
    """The bootstrap counts as float64, so many rows at a time. What fits in one block several times over is kept as it is."""
    if draws * n <= 4 * BLOCK:
        counts = _wide_counts(seed, n, draws)
        yield from (counts[i : i + rows] for i in range(0, draws, rows))
        return
    narrow = bootstrap_counts(seed, n, draws)
    yield from (narrow[i : i + rows].astype(np.float64) for i in range(0, draws, rows))


@lru_cache(maxsize=6)
def _wide_counts(seed: int, n: int, draws: int) -> FloatArray:
    wide = bootstrap_counts(seed, n, draws).astype(np.float64)
    wide.flags.writeable = False
    return wide


def bootstrap_means(outcomes: FloatArray, seed: int, draws: int) -> FloatArray:
    """Mean of each row of outcomes (statistic, n) in every bootstrap sample of the n units: (draws, statistic)."""
    n = outcomes.shape[1]
    step = max(1, BLOCK // n)
    return np.concatenate([part @ outcomes.T / n for part in blocks_of_counts(seed, n, draws, step)])


def resample_weights(n: int, draws: int) -> FloatArray:
    """(1 + draws + n, n): all units once, each bootstrap sample, and all units but each."""
    return np.concatenate([np.ones((1, n)), bootstrap_counts(SEED, n, draws), 1.0 - np.eye(n)])


def pairing_key(units: str, unit: str, n: int, draws: int, seed: int = SEED) -> str:
    """What estimates that were resampled alike have in common.

    units: identity of the units and their order. unit: their name.
    """
    return f"{units}/{unit}/n={n}/draws={draws}/seed={seed}"
