"""What the training loop asks of a pre-training objective."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Progress:
    """Where training stands: the step, and how many make an epoch and the whole run."""

    step: int
    steps_per_epoch: int
    total: int

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch


class Objective(Protocol):
    """An nn.Module whose forward gives the loss of a batch; everything that must survive a restart is in its state."""

    def __call__(self, images: Tensor, progress: Progress, *labels: Tensor) -> Tensor:
        """The loss on a batch of images, (n, 3, s, s) in [0, 1], of which views are drawn here.

        labels: one tensor (n,) of classes where the recipe is labelled, nothing otherwise.
        """
        ...

    def to(self, device: str) -> object: ...

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]: ...

    def weight_decay(self, progress: Progress) -> float:
        """The weight decay at this step, for parameters of two or more dimensions."""
        ...

    def before_update(self, progress: Progress) -> None:
        """Called between the backward pass and the optimiser's step."""
        ...

    def after_update(self, progress: Progress) -> None:
        """Called after the optimiser's step."""
        ...

    def backbone(self) -> nn.Module:
        """The network whose representation is studied."""
        ...
