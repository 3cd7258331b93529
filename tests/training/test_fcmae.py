"""FCMAE: the network sees nothing of what is masked, and what it sees it sees as it would by itself."""

from __future__ import annotations

import pytest
import torch
from kornia.enhance import Normalize
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput
from harness.models.build import build
from harness.params.recipes import FcmaeRecipe
from harness.training.fcmae import Fcmae
from harness.training.objective import Progress

RECIPE = FcmaeRecipe(
    objective="fcmae",
    seed=0,
    epochs=1,
    batch=8,
    base_lr=1e-3,
    weight_decay=0.0,
    warmup_epochs=0,
    crop=(1.0, 1.0),
    mask=0.5,
    patch=4,
    decoder_width=8,
)
OPTIONS = {"patch_size": 1, "depths": [1, 2, 1, 1], "dims": [8, 8, 12, 16], "output_stride": 8}
NORMALISE = Normalize(torch.zeros(3), torch.ones(3))


def network(**changes: object) -> nn.Module:
    built = build("convnextv2_atto", seed=0, **(OPTIONS | changes))
    # Freshly initialised, a global response adds nothing: here it does.
    for name, parameter in built.named_parameters():
        if ".grn." in name:
            nn.init.normal_(parameter)
    return built


@pytest.fixture
def objective() -> Fcmae:
    return Fcmae(network(), RECIPE, 16, NORMALISE).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def mask(rows: list[str]) -> Tensor:
    """(1, 1, 4, 4): ones where a patch is visible."""
    return torch.tensor([[float(cell == "o") for cell in row] for row in rows])[None, None]


SOME = mask(["oo..", ".o..", "..oo", "...."])


def features(objective: Fcmae, images: Tensor, visible: Tensor | None) -> Tensor:
    objective.visible = visible
    found = objective.network.forward_features(objective._hide(images))
    objective.visible = None
    return found


def test_nothing_of_what_is_masked_is_seen(objective: Fcmae, images: Tensor) -> None:
    hidden = (1 - SOME).repeat_interleave(4, 2).repeat_interleave(4, 3)
    others = images + hidden * torch.rand(images.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(features(objective, images, SOME), features(objective, others, SOME), rtol=0, atol=0)
    seen = images + (1 - hidden) * 0.1
    assert not torch.allclose(features(objective, images, SOME), features(objective, seen, SOME))


def test_without_a_mask_it_is_the_network_alone(objective: Fcmae, images: Tensor) -> None:
    expected = network().forward_features(images)
    for visible in (None, mask(["oooo"] * 4)):
        torch.testing.assert_close(features(objective, images, visible), expected)


def test_a_visible_place_is_what_a_sparse_convolution_gives() -> None:
    """The first stage's block on a list of its visible places."""
    objective = Fcmae(network(conv_mlp=False), RECIPE, 16, NORMALISE).eval()
    block = objective.network.stages[0].blocks[0]
    shown = SOME.repeat_interleave(4, 2).repeat_interleave(4, 3)
    x = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(2)) * shown
    objective.visible = SOME
    found = block(x)
    objective.visible = None
    at = [(i, j) for i in range(16) for j in range(16) if SOME[0, 0, i // 4, j // 4]]
    weight, bias = block.conv_dw.weight[:, 0], block.conv_dw.bias
    rows = []
    for i, j in at:
        near = [(p, q) for p, q in at if abs(p - i) <= 3 and abs(q - j) <= 3]
        rows.append(bias + sum(weight[:, p - i + 3, q - j + 3] * x[0, :, p, q] for p, q in near))
    inner = block.mlp.act(block.mlp.fc1(block.norm(torch.stack(rows))))
    norm = inner.norm(dim=0)
    inner = inner + inner * (norm / (norm.mean() + block.mlp.grn.eps)) * block.mlp.grn.weight + block.mlp.grn.bias
    expected = torch.stack([x[0, :, i, j] for i, j in at]) + block.mlp.fc2(inner)
    torch.testing.assert_close(torch.stack([found[0, :, i, j] for i, j in at]), expected, rtol=1e-4, atol=1e-5)
    assert (found * (1 - shown) == 0).all()


def test_the_loss_is_of_masked_patches_alone(objective: Fcmae, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that guesses nothing errs by 1 on each masked patch, whose normalised pixels have unit variance."""
    nn.init.zeros_(objective.pixels.weight)
    nn.init.zeros_(objective.pixels.bias)
    torch.manual_seed(0)
    loss = objective.train()(images, Progress(0, 1, 1))
    # Normalised by the unbiased variance: 47 of 48.
    assert loss.item() == pytest.approx(47 / 48, abs=2e-3)
    assert objective.visible is None
    loss.backward()
    assert objective.mask_token.grad is not None


@pytest.mark.parametrize(("patch", "size"), [(3, 16), (16, 16), (8, 12)])
def test_patches_that_do_not_fit_the_last_map_are_refused(patch: int, size: int) -> None:
    with pytest.raises(InvalidInput, match=f"seen: {patch}"):
        Fcmae(network(), RECIPE.model_copy(update={"patch": patch}), size, NORMALISE)


def test_another_network_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"ResNet[\s\S]*a ConvNeXt V2"):
        Fcmae(build("resnet18", seed=0), RECIPE, 16, NORMALISE)
