"""MAE: reconstruct the pixels of masked patches from the visible ones (He et al., 2022; Table A1)."""

from __future__ import annotations

import torch
from lightly.models.modules import MaskedVisionTransformerDecoderTIMM, MaskedVisionTransformerTIMM
from lightly.models.utils import get_at_index, normalize_mean_var, patchify, random_token_mask, repeat_token, set_at_index
from torch import Tensor, nn

from harness.params.recipes import MaeRecipe
from harness.training.augment import reconstruction_view
from harness.training.objective import Objective, Progress
from harness.training.parallel import spread

POSITIONS = "sincos"


class Mae(Objective):
    """Encoder on the visible patches, a light decoder on all of them, squared error on the masked ones."""

    def __init__(self, vit: nn.Module, recipe: MaeRecipe, size: int, normalise: nn.Module) -> None:
        super().__init__(recipe, normalise)
        self.vit = vit
        # "skip": the encoder comes initialised.
        self.encoder = MaskedVisionTransformerTIMM(vit, weight_initialization="skip", pos_embed_initialization="skip")
        self.patch = vit.patch_embed.patch_size[0]
        self.embed = nn.Linear(vit.embed_dim, recipe.decoder_width)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            vit.patch_embed.num_patches, recipe.decoder_width, recipe.decoder_depth, recipe.decoder_heads
        )
        self.pixels = nn.Linear(recipe.decoder_width, 3 * self.patch**2)
        self.view = reconstruction_view(size, recipe.crop)

    def forward(self, images: Tensor, progress: Progress) -> Tensor:
        with torch.no_grad():
            view = self.normalise(self.view(images))
            shape = (len(view), self.encoder.sequence_length)
            kept, masked = random_token_mask(shape, mask_ratio=self.recipe.mask, device=view.device)
            # Tokens count from the CLS token, patches from the first patch.
            target = get_at_index(patchify(view, self.patch), masked - 1)
            if self.recipe.norm_pix_loss:
                target = normalize_mean_var(target)
        return (spread(self._guess, view, kept, masked) - target).square().mean()

    def _guess(self, view: Tensor, kept: Tensor, masked: Tensor) -> Tensor:
        """The pixels of the masked patches (n, masked, 3 patch^2), from the visible tokens of (n, 3, s, s)."""
        visible = self.embed(self.encoder.encode(view, idx_keep=kept))
        tokens = repeat_token(self.decoder.mask_token, (len(view), self.encoder.sequence_length))
        decoded = self.decoder.decode(self.decoder.add_pos_embed(set_at_index(tokens, kept, visible)))
        guessed: Tensor = self.pixels(get_at_index(decoded, masked))
        return guessed

    def backbone(self) -> nn.Module:
        return self.vit


OBJECTIVE = Mae
