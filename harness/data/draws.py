"""Counter-based random draws: the value at (seed, stream, index) never depends on any other draw.

numpy's generators may change their streams between releases and must be consumed in order; these draws are
pure 64-bit integer arithmetic, so image i is the same on every machine and in a world of any size.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def bits(seed: int, stream: str, index: NDArray[np.integer]) -> NDArray[np.uint64]:
    """64 random bits for every index of a named stream."""
    with np.errstate(over="ignore"):
        key = _mix(np.asarray([seed], np.uint64) * _GOLDEN + np.uint64(zlib.crc32(stream.encode())))
        return _mix(_mix(index.astype(np.uint64) * _GOLDEN + key) + key)


def uniform(seed: int, stream: str, index: NDArray[np.integer], low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
    """Uniform draws in [low, high), one per index, with 53 random bits."""
    unit = (bits(seed, stream, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return low + (high - low) * unit


def integers(seed: int, stream: str, index: NDArray[np.integer], high: int) -> NDArray[np.int64]:
    """Integer draws in [0, high), one per index (modulo bias below high / 2**64)."""
    return (bits(seed, stream, index) % np.uint64(high)).astype(np.int64)


def permutation(seed: int, stream: str, n: int) -> NDArray[np.int64]:
    """A permutation of range(n): the order of n random draws, ties broken by index."""
    return np.argsort(bits(seed, stream, np.arange(n)), kind="stable")
