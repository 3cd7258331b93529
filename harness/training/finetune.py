"""Fine-tuning (Table A5): the whole network is trained with labels, and the path of its parameters is recorded."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.data import Mixup, create_transform
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from harness.maths.path_efficiency import Steps
from harness.params.recipes import FinetuneRecipe
from harness.training.augment import reconstruction_view
from harness.training.objective import Objective, Progress


class Finetune(Objective):
    """Cross-entropy of a linear layer on the final CLS token, over crops and flips, timm's RandAugment and erasing, mixup and
    cutmix, each where the recipe has it.

    vit: pre-trained, with drop path. size, mean, std: of the images that it is given. watched: (n, 3, s, s) uint8 images.
    paths: by the epochs between snapshots. trace: final CLS tokens of the watched images, (n, width) float16, before the first
    epoch and after each.
    """

    def __init__(
        self,
        vit: nn.Module,
        recipe: FinetuneRecipe,
        classes: int,
        size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        normalise: nn.Module,
        watched: Tensor,
    ) -> None:
        super().__init__(recipe, normalise)
        self.vit = vit
        torch.manual_seed(recipe.seed)
        self.head = nn.Linear(vit.embed_dim, classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)
        if recipe.randaugment or recipe.erasing:
            self.one: Callable[..., Tensor] | None = create_transform(
                size,
                is_training=True,
                scale=recipe.crop,
                auto_augment=recipe.randaugment or None,
                color_jitter=None,
                interpolation="bicubic",
                re_prob=recipe.erasing,
                mean=mean,
                std=std,
            )
        else:
            # Without timm's, which go image by image, all images of a batch at once.
            self.one, self.view = None, reconstruction_view(size, recipe.crop)
        self.mix = None
        if recipe.mixup or recipe.cutmix:
            self.mix = Mixup(recipe.mixup, recipe.cutmix, label_smoothing=recipe.label_smoothing, num_classes=classes)
        self.paths = {every: Steps(_snapshot(vit)) for every in recipe.every}
        self.watched = watched
        self.trace = [self._look()]

    def forward(self, images: Tensor, progress: Progress, labels: Tensor) -> Tensor:
        # timm draws from the generators of Python and numpy, whose states no checkpoint has.
        with _seeded(self.recipe.seed, progress.step):
            if self.one is None:
                views = self.normalise(self.view(images))
            else:
                views = torch.stack([self.one(to_pil_image(image)) for image in images.cpu()]).to(images)
            mixed, targets = self.mix(views, labels) if self.mix else (views, labels)
        logits = self.head(self.vit.forward_features(mixed)[:, 0])
        return F.cross_entropy(logits, targets, label_smoothing=0.0 if self.mix else self.recipe.label_smoothing)

    def after_update(self, progress: Progress) -> None:
        """A snapshot at the end of an epoch."""
        epoch, step = divmod(progress.step + 1, progress.steps_per_epoch)
        if step:
            return
        self.trace.append(self._look())
        for every, steps in self.paths.items():
            if epoch % every == 0:
                steps.add(_snapshot(self.vit))

    @torch.no_grad()
    def _look(self) -> Tensor:
        training, device = self.vit.training, next(self.vit.parameters()).device
        self.vit.eval()
        parts = [self.normalise(part.to(device).float() / 255) for part in self.watched.split(256)]
        final = torch.cat([self.vit.forward_features(part)[:, 0] for part in parts])
        self.vit.train(training)
        return final.half().cpu()

    def backbone(self) -> nn.Module:
        return self.vit

    def get_extra_state(self) -> dict[str, Any]:
        """Of the paths and the trace, which are no parameters."""
        return {str(every): steps.state() for every, steps in self.paths.items()} | {"trace": self.trace}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        for every, steps in self.paths.items():
            steps.resume(state[str(every)])
        self.trace = list(state["trace"])


def _snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().cpu() for name, parameter in network.named_parameters()}


@contextmanager
def _seeded(seed: int, step: int) -> Iterator[None]:
    """Seed Python's and numpy's generators by the seed and the step, and restore them afterwards."""
    before = random.getstate(), np.random.get_state()
    place = zlib.crc32(f"{seed}/{step}".encode())
    random.seed(place)
    np.random.seed(place)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
