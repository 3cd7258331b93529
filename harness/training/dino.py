"""DINO: a student matches its own moving average across crops (Caron et al., 2021; Table A3)."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from lightly.loss import DINOLoss
from lightly.loss.swav_loss import sinkhorn
from lightly.models.modules import DINOProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from torch import Tensor, nn

from harness.params.recipes import DinoRecipe
from harness.training.augment import GrowingViews, joint_embedding_view, two_views
from harness.training.objective import Objective, Progress
from harness.training.parallel import spread
from harness.training.schedules import cosine_schedule

POSITIONS = "learned"


def balanced_loss(seen: Tensor, views: list[Tensor], teacher: float, student: float, iterations: int) -> Tensor:
    """Mean cross-entropy of each view's answer against the teacher's for every other view, when Sinkhorn-Knopp has given all
    prototypes the same share of the teacher's batch (Table 7 of DINO, rows with SK; SwAV, section 3.1).

    seen: (g n, k), the teacher's logits for the g global views. views: the student's logits (n, k) for them and for the local
    views. teacher, student: temperatures.
    """
    n = len(views[0])
    # In double precision: exponentials of logits at low temperatures underflow in single.
    balanced = sinkhorn((seen - seen.max()).double(), iterations, teacher).to(seen.dtype)
    terms = [
        F.cross_entropy(view / student, target)
        for i, target in enumerate(balanced.split(n))
        for j, view in enumerate(views)
        if i != j
    ]
    return torch.stack(terms).mean()


class Dino(Objective):
    """The teacher sees the two global crops, the student all of them. The teacher is what the paper studies."""

    def __init__(self, network: nn.Module, recipe: DinoRecipe, size: int, normalise: nn.Module) -> None:
        super().__init__(recipe, normalise)
        self.student, self.teacher = network, copy.deepcopy(network)
        # Weight-normalised layers cannot be copied: build the head twice.
        self.student_head, self.teacher_head = (
            DINOProjectionHead(
                network.num_features,
                recipe.hidden,
                recipe.bottleneck,
                recipe.prototypes,
                batch_norm=recipe.batch_norm,
                freeze_last_layer=recipe.freeze_last_layer,
            )
            for _ in range(2)
        )
        self.teacher_head.load_state_dict(self.student_head.state_dict())
        deactivate_requires_grad(self.teacher)
        deactivate_requires_grad(self.teacher_head)
        low, high = recipe.teacher_temperature
        self.loss = DINOLoss(
            recipe.prototypes,
            warmup_teacher_temp=low,
            teacher_temp=high,
            warmup_teacher_temp_epochs=recipe.teacher_warmup_epochs,
        )
        self.views = GrowingViews(
            lambda share: nn.ModuleList(
                [
                    *two_views(size, recipe.crop, share, recipe.flip),
                    joint_embedding_view(recipe.local_size, recipe.local_crop, 0.5, 0.0, share, recipe.flip),
                ]
            )
        )

    def forward(self, images: Tensor, progress: Progress) -> Tensor:
        with torch.no_grad():
            share = self.recipe.photometric_share(progress.epoch)
            *global_views, local_view = self.views.at(share, images.device)
            broad = [self.normalise(view(images)) for view in global_views]
            narrow = [self.normalise(local_view(images)) for _ in range(self.recipe.local_views)]
            temperature = self._temperature(progress.epoch)
            seen = self.teacher_head(spread(self.teacher, torch.cat(broad)))
        answers = [self.student_head(spread(self.student, torch.cat(broad)))]
        if narrow:
            answers.append(self.student_head(spread(self.student, torch.cat(narrow))))
        n = len(images)
        views = [view for side in answers for view in side.split(n)]
        if self.recipe.sinkhorn:
            return balanced_loss(seen, views, temperature, self.loss.student_temp, self.recipe.sinkhorn)
        return self.loss(list(seen.split(n)), views, temperature)

    def _temperature(self, epoch: int) -> float:
        warmup = self.loss.teacher_temp_schedule
        return float(warmup[epoch]) if epoch < len(warmup) else self.loss.teacher_temp

    def weight_decay(self, progress: Progress) -> float:
        return cosine_schedule(progress.step, progress.total, self.recipe.weight_decay, self.recipe.weight_decay_end)

    def before_update(self, progress: Progress) -> None:
        self.student_head.cancel_last_layer_gradients(progress.epoch)

    def after_update(self, progress: Progress) -> None:
        momentum = cosine_schedule(progress.step, progress.total, self.recipe.momentum, 1.0)
        update_momentum(self.student, self.teacher, momentum)
        update_momentum(self.student_head, self.teacher_head, momentum)

    def backbone(self) -> nn.Module:
        return self.teacher


OBJECTIVE = Dino
