"""Protocols of a measure of similarity and of accuracies, independent of the artifacts that they are read from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from harness.evidence.estimate import Estimate


class SameDepth(Protocol):
    """The similarity of two models: minibatch CKA and every second measure have these."""

    def same_depth(self, blocks: Sequence[int]) -> Estimate:
        """Mean similarity of the two models' layers at equal depth."""
        ...

    def like(self, other: Any) -> SameDepth:
        """The same measure over what it has in common with another: layer types, or tokens."""
        ...


# Two models' names to what is known of their similarity.
Measure = Callable[[str, str], SameDepth]


class Accuracies(Protocol):
    """The accuracies of one model's features, in percent."""

    @property
    def tokens(self) -> Sequence[str]:
        """Which tokens the model has."""
        ...

    def at(self, token: str, block: int) -> Estimate:
        """20-NN accuracy of a token after a block."""
        ...

    def final(self, token: str) -> Estimate:
        """20-NN accuracy of a token after the final norm."""
        ...

    def probe(self) -> Estimate:
        """Accuracy of the linear probe on the pre-logits."""
        ...
