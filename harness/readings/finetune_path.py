"""How fine-tuning moved a model, as estimates: paths of the attention weights by block (3.3, Fig. 11), and the loss barrier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays, Table
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import BLOCKS, DRAWS, SEED, FloatArray
from harness.readings.depth import at_depth


@dataclass(frozen=True, eq=False)
class FinetunePath:
    """Attention weights (qkv and proj) of each of twelve blocks: net displacement, path length and norm at the start, (12,).

    A network of another depth has its blocks at the same shares of the depth.
    Raises InvalidInput for other shapes, and for a block that did not move or whose displacement exceeds its path length.
    """

    net: FloatArray
    length: FloatArray
    start: FloatArray

    def __post_init__(self) -> None:
        shapes = {name: getattr(self, name).shape for name in ("net", "length", "start")}
        if set(shapes.values()) != {(len(BLOCKS),)}:
            raise InvalidInput("path", field="blocks", seen=shapes, expected=f"({len(BLOCKS)},) of each")
        # Rounding may make a straight way a little shorter than its ends are apart.
        bad = ~((self.net > 0) & (self.net <= self.length * (1 + 1e-9)) & (self.start > 0))
        if bad.any():
            block = int(np.flatnonzero(bad)[0])
            seen = f"net {self.net[block]:.4g}, length {self.length[block]:.4g}, start {self.start[block]:.4g}"
            raise InvalidInput("path", field=f"attention of block {block}", seen=seen, expected="0 < net <= length, 0 < start")

    @classmethod
    def from_table(cls, table: Table) -> Self:
        """From a PATH artifact, of its snapshots after each epoch.

        Raises InvalidInput where there is no snapshot after each epoch, or a block is missing.
        """
        rows = table.rows[(table.rows["every"] == 1) & (table.rows["kind"] == "attention")].sort_values("block")
        blocks = rows["block"].tolist()
        if not blocks or blocks != list(range(len(blocks))):
            raise InvalidInput("path", field="attention after every epoch", seen=f"blocks {blocks}", expected="all, from 0 on")
        chosen = at_depth(len(blocks))
        return cls(*(rows[name].to_numpy(np.float64)[chosen] for name in ("net", "length", "start")))

    def efficiency(self) -> Estimate:
        """E = net / length in (0, 1], mean over blocks: 1 is a straight path."""
        return self._mean(self.net / self.length)

    def displacement(self) -> Estimate:
        """net / norm at the start, mean over blocks: the relative displacement of the attention weights."""
        return self._mean(self.net / self.start)

    def _mean(self, values: FloatArray) -> Estimate:
        n = len(values)
        return Estimate.resample(lambda w: w @ values / n, n, seed=SEED, unit="blocks", key="depth", draws=DRAWS)


def barrier(arrays: Arrays) -> Estimate:
    """How far, at most, the loss on the straight line between two points rises above the chord of its ends, in nats.

    From a LINE artifact, over images (Frankle et al., 2020). Below 0 where it lies under the chord all the way.

    Raises InvalidInput where there is no point between the ends.
    """
    share, loss = np.asarray(arrays["share"], np.float64), np.asarray(arrays["loss"], np.float64)
    if len(share) < 3:
        raise InvalidInput("line", field="points", seen=len(share), expected="3 or more, the ends among them")
    above = (loss - np.outer(1 - share, loss[0]) - np.outer(share, loss[-1]))[1:-1]
    n = loss.shape[1]
    return Estimate.resample(lambda w: (w @ above.T / n).max(1), n, seed=SEED, unit="images", key="line", draws=DRAWS)
