"""What all evidence shares: the blocks of a network of twelve by depth, and how estimates are resampled."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

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


def blocks_of_counts(seed: int, n: int, draws: int, rows: int, dtype: str = "float64") -> Iterator[FloatArray]:
    """The bootstrap counts in floating point, so many rows at a time. What fits in one block several times over is kept."""
    if draws * n <= 4 * BLOCK:
        counts = _wide_counts(seed, n, draws, dtype)
        yield from (counts[i : i + rows] for i in range(0, draws, rows))
        return
    narrow = bootstrap_counts(seed, n, draws)
    yield from (narrow[i : i + rows].astype(dtype) for i in range(0, draws, rows))


@lru_cache(maxsize=6)
def _wide_counts(seed: int, n: int, draws: int, dtype: str) -> FloatArray:
    wide = bootstrap_counts(seed, n, draws).astype(dtype)
    wide.flags.writeable = False
    return wide


def bootstrap_sums(values: FloatArray, seed: int, draws: int) -> FloatArray:
    """Sum of each column of values (n, statistic) in every bootstrap sample of the n units: (draws, statistic), float64.

    Sums of right and wrong answers are whole numbers, which float32 holds without rounding, at half of the memory traffic.
    """
    n = len(values)
    whole = n * np.abs(values).max(initial=0) < 2**24 and (values == np.rint(values)).all()
    dtype = "float32" if whole else "float64"
    given: NDArray[Any] = values.astype(dtype)
    blocks = blocks_of_counts(seed, n, draws, max(1, BLOCK // n), dtype)
    # A product with a vector takes less than half of the time of one with two columns.
    products = (part @ given[:, 0] if given.shape[1] == 1 else part @ given for part in blocks)
    return np.concatenate([part.reshape(len(part), -1) for part in products], dtype=np.float64)


def bootstrap_means(outcomes: FloatArray, seed: int, draws: int) -> FloatArray:
    """Mean of each row of outcomes (statistic, n) in every bootstrap sample of the n units: (draws, statistic)."""
    means: FloatArray = bootstrap_sums(outcomes.T, seed, draws) / outcomes.shape[1]
    return means


def resample_weights(n: int, draws: int) -> FloatArray:
    """(1 + draws + n, n): all units once, each bootstrap sample, and all units but each."""
    return np.concatenate([np.ones((1, n)), bootstrap_counts(SEED, n, draws), 1.0 - np.eye(n)])


def pairing_key(units: str, unit: str, n: int, draws: int, seed: int = SEED) -> str:
    """What estimates that were resampled alike have in common.

    units: identity of the units and their order. unit: their name.
    """
    return f"{units}/{unit}/n={n}/draws={draws}/seed={seed}"
