"""Pre-training: every objective learns its own loss, and a killed run ends with the uninterrupted run's weights."""

import kornia.augmentation as K
import pytest
import torch
from kornia.enhance import Normalize

from harness.artifacts.errors import InvalidInput
from harness.models.build import build
from harness.params import recipes
from harness.training import dino, engine, fcmae, mae, moco_v3, msn, state, supervised, vicreg
from harness.training.objective import Progress

COMMON = {"seed": 0, "epochs": 4, "batch": 32, "base_lr": 4e-3, "weight_decay": 0.05, "warmup_epochs": 1, "crop": (0.4, 1.0)}
RECIPES = {
    "moco_v3": (moco_v3, moco_v3.MocoV3, recipes.MocoV3Recipe(objective="moco_v3", hidden=32, out=16, **COMMON)),
    "dino": (
        dino,
        dino.Dino,
        recipes.DinoRecipe(
            objective="dino", hidden=32, bottleneck=16, prototypes=64, local_views=2, local_size=8, clip_grad=3.0, **COMMON
        ),
    ),
    "msn": (
        msn,
        msn.Msn,
        recipes.MsnRecipe(objective="msn", hidden=32, out=16, prototypes=24, focal_views=2, focal_size=8, mask=0.3, **COMMON),
    ),
    "mae": (
        mae,
        mae.Mae,
        recipes.MaeRecipe(objective="mae", decoder_width=16, decoder_depth=1, decoder_heads=2, **COMMON),
    ),
    "vicreg": (vicreg, vicreg.Vicreg, recipes.VicregRecipe(objective="vicreg", hidden=32, out=16, **COMMON)),
    "fcmae": (
        fcmae,
        fcmae.Fcmae,
        recipes.FcmaeRecipe(objective="fcmae", mask=0.5, patch=4, decoder_width=16, **COMMON),
    ),
    "supervised": (
        supervised,
        supervised.Supervised,
        recipes.SupervisedRecipe(objective="supervised", classes=4, **COMMON),
    ),
}


# The same objectives on a ResNet.
RECIPES |= {f"{name}_conv": RECIPES[name] for name in ("moco_v3", "dino", "vicreg")}
VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "dynamic_img_size": True}
RESNET = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "output_stride": 8}
CONVNEXT = {"patch_size": 1, "depths": [1, 1, 1, 1], "dims": [8, 8, 8, 16], "output_stride": 8}


def network_of(name: str) -> torch.nn.Module:
    module, _, recipe = RECIPES[name]
    if name == "fcmae":
        return build("convnextv2_atto", seed=recipe.seed, **CONVNEXT)
    if name.endswith("_conv"):
        return build("resnet18", seed=recipe.seed, **RESNET)
    return build("vit_tiny_patch16_224", seed=recipe.seed, positions=module.POSITIONS, **VIT)


def objective_of(name: str):
    _, kind, recipe = RECIPES[name]
    return kind(network_of(name), recipe, 16, Normalize(torch.full((3,), 0.5), torch.full((3,), 0.25))), recipe


@pytest.fixture
def images():
    g = torch.Generator().manual_seed(0)
    return torch.randint(256, (160, 3, 16, 16), generator=g, dtype=torch.uint8), torch.arange(160) % 4


class Killed(Exception): ...


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_killed_run_resumes_to_identical_weights(name, images, tmp_path, monkeypatch):
    whole, recipe = objective_of(name)
    curve = engine.pretrain(whole, recipe, *images, tmp_path / "whole", monitor_every=1)

    broken, _ = objective_of(name)
    step = engine._step
    calls = iter(range(10**6))

    def dying(*args):
        if next(calls) == 13:
            raise Killed
        return step(*args)

    monkeypatch.setattr(engine, "_step", dying)
    with pytest.raises(Killed):
        engine.pretrain(broken, recipe, *images, tmp_path / "broken", monitor_every=1)
    monkeypatch.setattr(engine, "_step", step)
    resumed, _ = objective_of(name)
    assert engine.pretrain(resumed, recipe, *images, tmp_path / "broken", monitor_every=1) == curve
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@pytest.mark.parametrize("name", list(RECIPES))
def test_only_a_supervised_objective_is_shown_the_labels(name, images, tmp_path, monkeypatch):
    objective, recipe = objective_of(name)
    seen = []
    forward = objective.forward
    monkeypatch.setattr(objective, "forward", lambda *args: seen.append(args[2:]) or forward(*args))
    pixels, labels = images
    engine.pretrain(objective, recipe.model_copy(update={"epochs": 1}), pixels, labels, tmp_path, monitor_every=1)
    assert len(seen) == len(pixels) // recipe.batch
    if name == "supervised":
        assert [len(shown) for shown in seen] == [1] * len(seen)
        assert torch.bincount(torch.cat([shown[0] for shown in seen])).tolist() == torch.bincount(labels).tolist()
    else:
        assert seen == [()] * len(seen)


def test_a_supervised_network_gives_each_image_its_own_label(images, tmp_path):
    """Labels that can be read from the pixels are learned: a batch and its labels are in one order."""
    pixels = images[0].clone()
    labels = torch.arange(160) % 4
    pixels[labels >= 2] //= 4
    labels //= 2
    objective, recipe = objective_of("supervised")
    # Smoothed labels of four classes have an entropy of 0.35; guessing between the two costs 0.87.
    recipe = recipe.model_copy(update={"epochs": 12})
    curve = engine.pretrain(objective, recipe, pixels, labels, tmp_path, monitor_every=1)
    assert curve[-1]["loss"] < 0.5 < curve[0]["loss"]


@pytest.mark.parametrize("name", ["moco_v3", "msn", "mae"])
def test_the_loss_falls(name, images, tmp_path):
    objective, recipe = objective_of(name)
    recipe = recipe.model_copy(update={"epochs": 12})
    curve = engine.pretrain(objective, recipe, *images, tmp_path, monitor_every=1)
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_the_dino_teacher_follows_the_student_without_gradient(images, tmp_path):
    # Its loss may rise while the teacher sharpens, so the loss itself tells nothing here.
    objective, recipe = objective_of("dino")
    before = {k: v.clone() for k, v in objective.teacher.state_dict().items()}
    engine.pretrain(objective, recipe, *images, tmp_path, monitor_every=4)
    assert all(p.grad is None for p in objective.teacher.parameters())
    moved = {k for k, v in objective.teacher.state_dict().items() if not torch.equal(v, before[k])}
    assert {"blocks.0.attn.qkv.weight", "cls_token", "pos_embed", "patch_embed.proj.weight"} <= moved


def test_the_dino_teacher_has_the_temperature_of_the_epoch_and_moves_its_centre(images, monkeypatch):
    _, kind, recipe = RECIPES["dino"]
    recipe = recipe.model_copy(update={"teacher_temperature": (0.02, 0.06), "teacher_warmup_epochs": 3})
    model = kind(objective_of("dino")[0].student, recipe, 16, Normalize(torch.full((3,), 0.5), torch.full((3,), 0.25)))
    asked, loss = [], model.loss.forward
    monkeypatch.setattr(model.loss, "forward", lambda *given: asked.append(round(given[2], 3)) or loss(*given))
    for epoch in range(5):
        assert torch.isfinite(model(images[0][:8].float() / 255, Progress(step=epoch, steps_per_epoch=1, total=5)))
    assert asked == [0.02, 0.04, 0.06, 0.06, 0.06]
    assert model.loss.center.any()


def test_the_msn_target_sees_all_patches_and_the_anchor_some_or_a_small_crop(images, monkeypatch):
    objective, _ = objective_of("msn")
    lengths = {"anchor": [], "target": []}
    for name in lengths:
        block = getattr(objective, name).blocks[0]
        block.register_forward_hook(lambda _m, given, _out, name=name: lengths[name].append(tuple(given[0].shape[:2])))
    loss = objective(images[0][:8].float() / 255, Progress(0, 1, 1))
    # 16 patches and a CLS token, of which 30 % are dropped; two crops of two by two patches.
    assert lengths == {"anchor": [(8, 17 - round(0.3 * 17)), (16, 5)], "target": [(8, 17)]}
    loss.backward()
    assert all(p.grad is None for part in (objective.target, objective.target_head) for p in part.parameters())
    without = {name for name, p in objective.named_parameters() if p.requires_grad and p.grad is None}
    assert without == {"masked.mask_token"}
    assert objective.anchor.pos_embed.grad is not None


def test_the_msn_loss_is_cross_entropy_less_the_mean_entropy():
    """Equations 1 and 2 of Assran et al. without Sinkhorn's balancing, up to the constant log K."""
    g = torch.Generator().manual_seed(0)
    anchors, targets, prototypes = (torch.nn.functional.normalize(torch.randn(n, 5, generator=g), dim=1) for n in (8, 4, 6))
    given = (torch.softmax(anchors @ prototypes.T / 0.1, 1), torch.softmax(targets @ prototypes.T / 0.1, 1))
    sharp = given[1] ** 4 / (given[1] ** 4).sum(1, keepdim=True)
    mean = given[0].mean(0)
    expected = -(sharp.repeat(2, 1) * given[0].log()).sum(1).mean() + 0.5 * (
        (mean * mean.log()).sum() + torch.log(torch.tensor(6.0))
    )
    found = msn.MSNLoss(0.1, 0, 0.5)(anchors, targets, prototypes, 0.25)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("wanted", [False, True])
def test_the_dino_heads_are_batch_normalised_where_the_recipe_says_so(wanted):
    _, kind, recipe = RECIPES["dino"]
    vit, normalise = objective_of("dino")[0].student, torch.nn.Identity()
    model = kind(vit, recipe.model_copy(update={"batch_norm": wanted}), 16, normalise)
    for head in (model.student_head, model.teacher_head):
        assert any(isinstance(part, torch.nn.BatchNorm1d) for part in head.modules()) == wanted


def test_views_have_the_photometric_share_of_the_recipe():
    _, kind, recipe = RECIPES["moco_v3"]
    vit = objective_of("moco_v3")[0].base
    for share, steps in ((0.0, 2), (0.5, 6)):
        model = kind(vit, recipe.model_copy(update={"photometric": share}), 16, torch.nn.Identity())
        assert {len(view) for view in model.views} == {steps}


@pytest.mark.parametrize("name", ["moco_v3", "dino", "msn", "vicreg"])
def test_views_are_mirrored_as_often_as_the_recipe_says(name):
    _, kind, recipe = RECIPES[name]
    for told, expected in (({}, 0.5), ({"flip": 0.0}, 0.0)):
        model = kind(network_of(name), recipe.model_copy(update=told), 16, torch.nn.Identity())
        views = model.views if name in ("moco_v3", "vicreg") else model.views.at(1.0, torch.device("cpu"))
        flips = [step.p for view in views for step in view if isinstance(step, K.RandomHorizontalFlip)]
        assert flips == [expected] * len(views)


@pytest.mark.parametrize("name", ["dino", "msn"])
def test_photometric_changes_grow_between_two_epochs(name, images):
    objective, recipe = objective_of(name)
    objective.recipe = recipe.model_copy(update={"photometric": 0.8, "photometric_epochs": (1, 5)})
    shares, steps = [], []
    for epoch in range(7):
        objective(images[0][:8].float() / 255, Progress(step=2 * epoch, steps_per_epoch=2, total=14))
        shares.append(objective.views.share)
        steps.append({len(view) for view in objective.views.views})
    assert shares == pytest.approx([0.0, 0.0, 0.2, 0.4, 0.6, 0.8, 0.8])
    assert steps == [{2}] * 2 + [{6}] * 5
    assert not any("view" in key for key in objective.state_dict())


def test_the_whole_share_is_there_from_the_start_where_the_recipe_is_silent():
    assert [RECIPES["dino"][2].photometric_share(epoch) for epoch in (0, 3)] == [1.0, 1.0]
    with pytest.raises(ValueError, match="in order"):
        recipes.DinoRecipe.model_validate(RECIPES["dino"][2].model_dump() | {"photometric_epochs": (3, 2)})


def test_balanced_targets_give_all_prototypes_the_same_share():
    """Cross-entropy by hand, against targets that Sinkhorn-Knopp has balanced: rows sum to 1, columns to n / k."""
    g = torch.Generator().manual_seed(0)
    seen, views = torch.randn(12, 4, generator=g), [torch.randn(6, 4, generator=g) for _ in range(3)]
    balanced = torch.exp((seen.double() - 3) / 0.5)
    for _ in range(200):
        balanced = balanced / balanced.sum(0) * 3
        balanced = balanced / balanced.sum(1, keepdim=True)
    expected = sum(
        -(balanced[6 * i : 6 * i + 6] * (view.double() / 0.2).log_softmax(1)).sum(1).mean()
        for i in range(2)
        for j, view in enumerate(views)
        if i != j
    )
    found = dino.balanced_loss(seen, views, 0.5, 0.2, 200)
    assert found.item() == pytest.approx(expected.item() / 4, rel=1e-5)
    # What all images have is taken away, as centring does, and a low temperature does not overflow.
    shifted = seen + torch.tensor([3.0, 0.0, -1.0, 2.0])
    assert dino.balanced_loss(shifted, views, 0.5, 0.2, 200).item() == pytest.approx(found.item(), rel=1e-5)
    assert torch.isfinite(dino.balanced_loss(seen.sign(), views, 0.01, 0.2, 3))


def test_the_dino_loss_is_balanced_where_the_recipe_says_so(images):
    objective, recipe = objective_of("dino")
    objective.recipe = recipe.model_copy(update={"sinkhorn": 3})
    loss = objective(images[0][:8].float() / 255, Progress(0, 1, 1))
    loss.backward()
    assert torch.isfinite(loss)
    assert not objective.loss.center.any()
    assert all(p.grad is None for part in (objective.teacher, objective.teacher_head) for p in part.parameters())


def test_positions_and_patch_embedding_are_trained_as_prescribed():
    fixed, _ = objective_of("moco_v3")
    assert not fixed.base.pos_embed.requires_grad
    assert not fixed.base.patch_embed.proj.weight.requires_grad
    masked, _ = objective_of("mae")
    assert not masked.vit.pos_embed.requires_grad
    assert masked.vit.patch_embed.proj.weight.requires_grad
    learned, _ = objective_of("dino")
    assert learned.student.pos_embed.requires_grad
    assert not learned.teacher.pos_embed.requires_grad


@pytest.mark.parametrize("name", ["mae", "fcmae"])
@pytest.mark.parametrize(("norm_pix_loss", "ratio"), [(True, 1.0), (False, 4.0)])
def test_the_target_is_each_patch_by_its_own_deviation_or_the_pixels(name, norm_pix_loss, ratio, images):
    objective, recipe = objective_of(name)
    objective.recipe = recipe.model_copy(update={"norm_pix_loss": norm_pix_loss})
    objective.normalise = torch.nn.Identity()
    torch.nn.init.zeros_(objective.pixels.weight)
    torch.nn.init.zeros_(objective.pixels.bias)
    views = images[0][:8].float() / 255

    def loss(x: torch.Tensor) -> float:
        torch.manual_seed(0)
        return objective(x, Progress(0, 1, 1)).item()

    # A head that answers zero has the mean square of its target.
    assert loss(2 * views) / loss(views) == pytest.approx(ratio, rel=1e-3)


def test_info_nce_is_zero_sum_of_a_uniform_guess():
    same = torch.ones(8, 4)
    expected = 2 * 0.2 * torch.log(torch.tensor(8.0))
    torch.testing.assert_close(moco_v3.info_nce(same, same, 0.2), expected)


def test_a_world_smaller_than_the_batch_is_refused(images, tmp_path):
    objective, recipe = objective_of("mae")
    with pytest.raises(InvalidInput, match="batch"):
        engine.pretrain(objective, recipe, images[0][:8], images[1][:8], tmp_path, monitor_every=1)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_state(images, tmp_path, monkeypatch):
    objective, recipe = objective_of("mae")
    engine.pretrain(objective, recipe.model_copy(update={"epochs": 1}), *images, tmp_path, monitor_every=1)
    kept = (tmp_path / "state.pt").read_bytes()
    torch.nn.init.constant_(objective.pixels.bias, float("nan"))
    monkeypatch.setattr(state, "restore", lambda *args: {"rows": [], "epochs": 1})
    with pytest.raises(InvalidInput, match="finite"):
        engine.pretrain(objective, recipe, *images, tmp_path, monitor_every=1)
    assert (tmp_path / "state.pt").read_bytes() == kept
