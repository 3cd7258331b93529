"""MSN: predict the prototypes of an image from views of it with masked patches (Assran et al., 2022)."""

from __future__ import annotations

import copy

import torch
from lightly.loss import MSNLoss
from lightly.models.modules import MaskedVisionTransformerTIMM
from lightly.models.modules.heads import MSNProjectionHead
from lightly.models.utils import deactivate_requires_grad, random_token_mask, update_momentum
from torch import Tensor, nn

from harness.params.recipes import MsnRecipe
from harness.training.augment import GrowingViews, joint_embedding_view
from harness.training.objective import Objective, Progress
from harness.training.parallel import spread
from harness.training.schedules import cosine_schedule

POSITIONS = "learned"


class Msn(Objective):
    """The target sees one view whole; the anchor another with patches dropped, and small ones. The target is studied."""

    def __init__(self, vit: nn.Module, recipe: MsnRecipe, size: int, normalise: nn.Module) -> None:
        super().__init__(recipe, normalise)
        self.anchor, self.target = vit, copy.deepcopy(vit)
        # "skip": the encoder comes initialised.
        self.masked = MaskedVisionTransformerTIMM(vit, weight_initialization="skip", pos_embed_initialization="skip")
        # The wrapper fixes the positions, which MSN learns.
        vit.pos_embed.requires_grad_(True)
        self.anchor_head = MSNProjectionHead(vit.embed_dim, recipe.hidden, recipe.out)
        self.target_head = copy.deepcopy(self.anchor_head)
        self.prototypes = nn.Linear(recipe.out, recipe.prototypes, bias=False)
        deactivate_requires_grad(self.target)
        deactivate_requires_grad(self.target_head)
        self.loss = MSNLoss(recipe.temperature, recipe.sinkhorn, recipe.regularisation)
        kinds = ((size, recipe.crop), (recipe.focal_size, recipe.focal_crop))
        self.views = GrowingViews(
            lambda share: nn.ModuleList(joint_embedding_view(side, crop, 0.5, 0.0, share, recipe.flip) for side, crop in kinds)
        )

    def forward(self, images: Tensor, progress: Progress) -> Tensor:
        n = len(images)
        with torch.no_grad():
            view, focal_view = self.views.at(self.recipe.photometric_share(progress.epoch), images.device)
            whole, broad = (self.normalise(view(images)) for _ in range(2))
            narrow = [self.normalise(focal_view(images)) for _ in range(self.recipe.focal_views)]
            kept, _ = random_token_mask((n, self.masked.sequence_length), mask_ratio=self.recipe.mask, device=images.device)
            seen = self.target_head(spread(self.target, whole))
        anchors = [spread(self._seen, broad, kept)]
        if narrow:
            anchors.append(spread(self.anchor, torch.cat(narrow)))
        guesses = self.anchor_head(torch.cat(anchors))
        loss: Tensor = self.loss(guesses, seen, self.prototypes.weight, self.recipe.sharpening)
        return loss

    def _seen(self, view: Tensor, kept: Tensor) -> Tensor:
        """(n, 3, s, s) and the tokens that are kept of each to its CLS token (n, d)."""
        token: Tensor = self.masked.encode(view, idx_keep=kept)[:, 0]
        return token

    def weight_decay(self, progress: Progress) -> float:
        return cosine_schedule(progress.step, progress.total, self.recipe.weight_decay, self.recipe.weight_decay_end)

    def after_update(self, progress: Progress) -> None:
        momentum = cosine_schedule(progress.step, progress.total, self.recipe.momentum, 1.0)
        update_momentum(self.anchor, self.target, momentum)
        update_momentum(self.anchor_head, self.target_head, momentum)

    def backbone(self) -> nn.Module:
        return self.target


OBJECTIVE = Msn
