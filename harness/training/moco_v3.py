"""MoCo-v3: InfoNCE between two views' queries and a momentum encoder's keys (Chen, Xie and He, 2021; Table A2)."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from lightly.models.modules import MoCoProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from timm.models import VisionTransformer
from torch import Tensor, nn

from harness.params.recipes import MocoV3Recipe
from harness.training.augment import two_views
from harness.training.objective import Objective, Progress
from harness.training.parallel import spread
from harness.training.schedules import cosine_schedule

POSITIONS = "sincos"


def info_nce(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """2 T times the cross-entropy of each query (n, d) against all keys (n, d); the positive has its own index.

    Keys carry no gradient. Views of one side are never each other's negatives, as they are in SimCLR's loss.
    """
    logits = F.normalize(query, dim=1) @ F.normalize(key, dim=1).T / temperature
    return 2 * temperature * F.cross_entropy(logits, torch.arange(len(query), device=query.device))


class MocoV3(Objective):
    """The base encoder learns to predict the momentum encoder's embedding of the other view."""

    def __init__(self, network: nn.Module, recipe: MocoV3Recipe, size: int, normalise: nn.Module) -> None:
        super().__init__(recipe, normalise)
        self.base = network
        if isinstance(network, VisionTransformer):
            # A frozen random patch embedding keeps ViT training stable (section 4.2 of MoCo-v3).
            network.patch_embed.requires_grad_(False)
        self.projector = MoCoProjectionHead(network.num_features, recipe.hidden, recipe.out, num_layers=3, batch_norm=True)
        self.predictor = MoCoProjectionHead(recipe.out, recipe.hidden, recipe.out, num_layers=2, batch_norm=True)
        self.momentum_base, self.momentum_projector = copy.deepcopy(network), copy.deepcopy(self.projector)
        deactivate_requires_grad(self.momentum_base)
        deactivate_requires_grad(self.momentum_projector)
        self.views = two_views(size, recipe.crop, recipe.photometric, recipe.flip)

    def forward(self, images: Tensor, progress: Progress) -> Tensor:
        with torch.no_grad():
            momentum = cosine_schedule(progress.step, progress.total, self.recipe.momentum, 1.0)
            update_momentum(self.base, self.momentum_base, momentum)
            update_momentum(self.projector, self.momentum_projector, momentum)
            first, second = (self.normalise(view(images)) for view in self.views)
            key1 = self.momentum_projector(spread(self.momentum_base, first))
            key2 = self.momentum_projector(spread(self.momentum_base, second))
        query1 = self.predictor(self.projector(spread(self.base, first)))
        query2 = self.predictor(self.projector(spread(self.base, second)))
        return info_nce(query1, key2, self.recipe.temperature) + info_nce(query2, key1, self.recipe.temperature)

    def backbone(self) -> nn.Module:
        return self.base


OBJECTIVE = MocoV3
