"""The layer types and features of a network, and their columns in its bank. Some networks have no CLS token, or many widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput
from harness.artifacts.store import Arrays
from harness.artifacts.tables import TYPES, unpack


@dataclass(frozen=True)
class Layout:
    """The columns of a bank's features: token by token, and of each one depth by depth.

    tokens: "cls" and "gap", or "gap" alone. widths: features of one token after each block and, last, of what the network hands
    on.
    """

    tokens: tuple[str, ...]
    widths: tuple[int, ...]

    @classmethod
    def of(cls, bank: Arrays) -> Self:
        """A bank's layout."""
        return cls(tuple(unpack(bank["tokens"])), tuple(bank["widths"].tolist()))

    @property
    def columns(self) -> int:
        """How many features an image has in all."""
        return len(self.tokens) * sum(self.widths)

    def at(self, token: str, depth: int) -> slice:
        """The columns of one token after a block; at the number of blocks or at -1, those of the pre-logits.

        Raises InvalidInput for a token that the network does not have, or a depth.
        """
        if token not in self.tokens:
            raise InvalidInput("features", field="token", seen=token, expected=" or ".join(self.tokens))
        if not -1 <= depth < len(self.widths):
            raise InvalidInput("features", field="depth", seen=depth, expected=f"0 to {len(self.widths) - 1}, or -1")
        start = self.tokens.index(token) * sum(self.widths) + [0, *accumulate(self.widths)][depth % len(self.widths)]
        return slice(start, start + self.widths[depth])

    def joined(self, features: NDArray[Any], token: str, depths: Sequence[int]) -> NDArray[np.float32]:
        """(n, columns) to one token's features at these depths, side by side, float32."""
        return np.concatenate([features[:, self.at(token, depth)] for depth in depths], axis=1, dtype=np.float32)

    def final(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """(n, columns) to the pre-logits, (n, width): the final CLS token, or of those without it the pooled maps."""
        return np.asarray(features[:, self.at(self.tokens[0], -1)], np.float32)

    def depth_of(self, column: int) -> int:
        """The depth whose feature a column holds."""
        return int(np.searchsorted(np.cumsum(self.widths), column % sum(self.widths), side="right"))


def types_of(layers: Sequence[str]) -> tuple[str, ...]:
    """Which layer types a network's blocks have, of names "<block>.<type>".

    Raises InvalidInput unless they are block by block, of every block the same types in their order.
    """
    types = tuple(kind for kind in TYPES if f"0.{kind}" in layers)
    blocks = len(layers) // max(len(types), 1)
    if not layers or list(layers) != [f"{block}.{kind}" for block in range(blocks) for kind in types]:
        seen = f"{len(layers)} layers, {layers[0]} to {layers[-1]}" if layers else "none"
        raise InvalidInput("layers", field="names", seen=seen, expected=f"blocks of {', '.join(TYPES)}, each whole")
    return types


def of_type(layers: Sequence[str], kind: str) -> list[int]:
    """Where the layers of one type stand among names "<block>.<type>", block by block."""
    return [i for i, name in enumerate(layers) if name.partition(".")[2] == kind]
