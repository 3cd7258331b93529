"""The base of every pre-training objective: what the training loop calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Progress:
    """Progress of a training: the step, and the number of steps of an epoch and of the whole run."""

    step: int
    steps_per_epoch: int
    total: int

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch


class Objective(nn.Module):
    """A module whose forward(images, progress, *labels) gives the loss of a batch.

    images: (n, 3, s, s) in [0, 1], of which views are drawn in forward. labels: one tensor (n,) of classes where the recipe is
    labelled, nothing otherwise. Everything that must survive a restart is in the state of the module.
    """

    def __init__(self, recipe: Any, normalise: nn.Module) -> None:
        """normalise: turns pixels in [0, 1] into the network's input."""
        super().__init__()
        self.recipe, self.normalise = recipe, normalise

    def weight_decay(self, progress: Progress) -> float:
        """The weight decay at this step, for parameters of two or more dimensions."""
        decay: float = self.recipe.weight_decay
        return decay

    def before_update(self, progress: Progress) -> None:
        """Called between the backward pass and the optimiser's step."""

    def after_update(self, progress: Progress) -> None:
        """Called after the optimiser's step."""

    def backbone(self) -> nn.Module:
        """The network whose representation is studied."""
        raise NotImplementedError
