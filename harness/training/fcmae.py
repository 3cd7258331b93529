"""FCMAE: reconstruct the pixels of masked patches with a convolutional network (Woo et al., 2023, ConvNeXt V2).

The paper's network convolves the visible positions alone. Here it convolves all of them, and what is masked is zero before each
convolution and each global response, which gives the visible ones the same values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from lightly.models.utils import normalize_mean_var, patchify, random_token_mask
from timm.layers.grn import GlobalResponseNorm
from timm.models.convnext import ConvNeXt, ConvNeXtBlock
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput
from harness.params.recipes import FcmaeRecipe
from harness.training.augment import reconstruction_view
from harness.training.objective import Objective, Progress
from harness.training.parallel import spread

# It has maps.
POSITIONS = None


class Fcmae(Objective):
    """The network on what is visible, a decoder of one block on all patches, squared error on the masked ones."""

    def __init__(self, network: nn.Module, recipe: FcmaeRecipe, size: int, normalise: nn.Module) -> None:
        super().__init__(recipe, normalise)
        if not isinstance(network, ConvNeXt):
            seen = type(network).__name__
            raise InvalidInput("params.yaml", field="architecture of fcmae", seen=seen, expected="a ConvNeXt V2")
        self.network = network
        self.grid = size // recipe.patch
        with torch.no_grad():
            side = network.forward_features(torch.zeros(1, 3, size, size)).shape[-1]
        if size % recipe.patch or self.grid % side:
            expected = (
                f"patches of which whole ones lie in each of {side} x {side} places of the last map, {size} pixels in all"
            )
            raise InvalidInput("params.yaml", field="patch", seen=recipe.patch, expected=expected)
        width = recipe.decoder_width
        # Each place of the last map says what it has of the patches in it.
        self.embed = nn.ConvTranspose2d(network.num_features, width, self.grid // side, self.grid // side)
        self.mask_token = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.decoder = ConvNeXtBlock(width, use_grn=True, ls_init_value=None)
        self.pixels = nn.Conv2d(width, 3 * recipe.patch**2, 1)
        self.view = reconstruction_view(size, recipe.crop)
        # (n, 1, grid, grid) of ones and zeros while patches are masked.
        self.visible: Tensor | None = None
        for module in network.modules():
            if module is network.stem or isinstance(module, ConvNeXtBlock):
                module.register_forward_hook(lambda _, inputs, output: self._hide(output))
            if isinstance(module, GlobalResponseNorm):
                module.register_forward_pre_hook(lambda norm, inputs: self._hide(inputs[0], last=norm.channel_dim == -1))

    def forward(self, images: Tensor, progress: Progress) -> Tensor:
        with torch.no_grad():
            view = self.normalise(self.view(images))
            n, cells = len(view), self.grid**2
            # Drawn as MAE draws, which keeps its CLS token: patches count from 1.
            _, masked = random_token_mask((n, cells + 1), mask_ratio=self.recipe.mask, device=view.device)
            hidden = torch.zeros(n, cells, device=view.device).scatter_(1, masked - 1, 1.0)
            target = patchify(view, self.recipe.patch)
            if self.recipe.norm_pix_loss:
                target = normalize_mean_var(target)
        wrong = (spread(self._guess, view, hidden) - target).square().mean(2)
        return (wrong * hidden).sum() / hidden.sum()

    def _guess(self, view: Tensor, hidden: Tensor) -> Tensor:
        """The pixels of all patches (n, cells, 3 patch^2), from what is not hidden of (n, 3, s, s). hidden: (n, cells)."""
        self.visible = (1 - hidden).reshape(len(view), 1, self.grid, self.grid)
        embedded = self.embed(self.network.forward_features(self._hide(view)))
        seen = embedded * self.visible + self.mask_token * (1 - self.visible)
        self.visible = None
        guessed: Tensor = self.pixels(self.decoder(seen)).flatten(2).transpose(1, 2)
        return guessed

    def _hide(self, x: Tensor, *, last: bool = False) -> Tensor:
        """Zero what is masked in maps (n, c, h, w), or (n, h, w, c) if last. A place is visible where any patch in it is."""
        if self.visible is None:
            return x
        side = x.shape[1] if last else x.shape[2]
        grow, shrink = side // self.grid, self.grid // side
        shown = F.max_pool2d(self.visible, shrink) if shrink > 1 else self.visible
        if grow > 1:
            shown = shown.repeat_interleave(grow, 2).repeat_interleave(grow, 3)
        return x * (shown.permute(0, 2, 3, 1) if last else shown)

    def backbone(self) -> nn.Module:
        return self.network


OBJECTIVE = Fcmae
