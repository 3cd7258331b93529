"""VICReg: two views are embedded alike while each feature varies and none repeats another (Bardes, Ponce and LeCun, 2022).

No method of the paper: a joint embedding with neither negatives nor a teacher.
"""

from __future__ import annotations

import torch
from lightly.loss import VICRegLoss
from lightly.models.modules.heads import VICRegProjectionHead
from torch import Tensor, nn

from harness.params.recipes import VicregRecipe
from harness.training.augment import two_views
from harness.training.objective import Objective, Progress
from harness.training.parallel import spread

POSITIONS = "sincos"


class Vicreg(Objective):
    """One network sees both views, and gradients go through both."""

    def __init__(self, network: nn.Module, recipe: VicregRecipe, size: int, normalise: nn.Module) -> None:
        super().__init__(recipe, normalise)
        self.network = network
        self.projector = VICRegProjectionHead(network.num_features, recipe.hidden, recipe.out)
        self.loss = VICRegLoss(recipe.invariance, recipe.variance, recipe.covariance)
        self.views = two_views(size, recipe.crop, recipe.photometric, recipe.flip)

    def forward(self, images: Tensor, progress: Progress) -> Tensor:
        with torch.no_grad():
            both = torch.cat([self.normalise(view(images)) for view in self.views])
        first, second = self.projector(spread(self.network, both)).chunk(2)
        loss: Tensor = self.loss(first, second)
        return loss

    def backbone(self) -> nn.Module:
        return self.network


OBJECTIVE = Vicreg
