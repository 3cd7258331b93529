"""Supervised classification with the same network: the reference for how much class information the images hold."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.params.recipes import SupervisedRecipe
from harness.training.augment import reconstruction_view
from harness.training.objective import Objective, Progress
from harness.training.parallel import spread

POSITIONS = "sincos"


class Supervised(Objective):
    """Cross-entropy of a linear layer on the final CLS token, over crops and flips."""

    def __init__(self, vit: nn.Module, recipe: SupervisedRecipe, size: int, normalise: nn.Module) -> None:
        super().__init__(recipe, normalise)
        self.vit = vit
        self.head = nn.Linear(vit.embed_dim, recipe.classes)
        self.view = reconstruction_view(size, recipe.crop)

    def forward(self, images: Tensor, progress: Progress, labels: Tensor) -> Tensor:
        with torch.no_grad():
            view = self.normalise(self.view(images))
        logits = self.head(spread(lambda x: self.vit.forward_features(x)[:, 0], view))
        return F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)

    def backbone(self) -> nn.Module:
        return self.vit


OBJECTIVE = Supervised
