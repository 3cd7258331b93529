"""Fine-tuning: exact resume, layer-wise rates, and a path that is that of the weights."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kornia.enhance import Normalize
from pydantic import ValidationError
from torch import Tensor, nn

from harness.maths.path_efficiency import Steps
from harness.models.build import build
from harness.params.recipes import FinetuneRecipe
from harness.training import engine, state
from harness.training.finetune import Finetune
from harness.training.objective import Progress

RECIPE = FinetuneRecipe(
    seed=0, epochs=4, batch=32, base_lr=2e-2, weight_decay=0.05, warmup_epochs=1, crop=(0.6, 1.0), every=(1, 2, 4)
)
# Crops and flips alone, of a batch at once.
PLAIN = RECIPE.model_copy(update={"mixup": 0.0, "cutmix": 0.0, "erasing": 0.0, "randaugment": ""})
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
DEPTH = 3


def objective(recipe: FinetuneRecipe = RECIPE) -> Finetune:
    options = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": DEPTH, "num_heads": 2, "dynamic_img_size": True}
    vit = build("vit_tiny_patch16_224", seed=1, **options, drop_path_rate=recipe.drop_path)
    watched = torch.randint(256, (6, 3, 16, 16), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    return Finetune(vit, recipe, 4, 16, MEAN, STD, Normalize(torch.tensor(MEAN), torch.tensor(STD)), watched)


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """Four classes by the quarter that is bright."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(160) % 4
    pixels = torch.randint(80, (160, 3, 16, 16), generator=g, dtype=torch.uint8)
    for i, label in enumerate(labels.tolist()):
        y, x = 8 * (label // 2), 8 * (label % 2)
        pixels[i, :, y : y + 8, x : x + 8] += 150
    return pixels, labels


def train(one: Finetune, images: tuple[Tensor, Tensor], scratch: Path, recipe: FinetuneRecipe = RECIPE) -> Any:
    return engine.pretrain(one, recipe, *images, scratch, monitor_every=1, layer_decay=recipe.layer_decay)


class Killed(Exception): ...


@pytest.mark.parametrize("recipe", [RECIPE, PLAIN])
def test_a_killed_run_resumes_to_identical_weights_and_the_same_path(
    recipe: FinetuneRecipe, images: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = objective(recipe)
    curve = train(whole, images, tmp_path / "whole", recipe)
    broken, step, calls = objective(recipe), engine._step, iter(range(10**6))

    def dying(*args: Any) -> Tensor:
        if next(calls) == 17:
            raise Killed
        return step(*args)

    monkeypatch.setattr(engine, "_step", dying)
    with pytest.raises(Killed):
        train(broken, images, tmp_path / "broken", recipe)
    monkeypatch.setattr(engine, "_step", step)
    # Whatever else drew from the generators that no state has.
    random.seed(5)
    np.random.seed(5)
    resumed = objective(recipe)
    assert train(resumed, images, tmp_path / "broken", recipe) == curve
    for key, value in whole.vit.state_dict().items():
        assert torch.equal(value, resumed.vit.state_dict()[key]), key
    assert {every: steps.paths() for every, steps in resumed.paths.items()} == {
        every: steps.paths() for every, steps in whole.paths.items()
    }
    assert torch.equal(torch.stack(resumed.trace), torch.stack(whole.trace))


def test_the_path_is_that_of_the_weights_at_the_ends_of_epochs(
    images: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = objective()
    seen = [{name: p.detach().clone() for name, p in one.vit.named_parameters()}]
    final = [torch.empty(0)]
    save = state.save

    @torch.no_grad()
    def noting(*args: Any) -> None:
        seen.append({name: p.detach().clone() for name, p in one.vit.named_parameters()})
        final.append(one.vit.eval()(one.normalise(one.watched.float() / 255)))
        save(*args)

    monkeypatch.setattr(state, "save", noting)
    train(one, images, tmp_path)
    assert len(seen) == len(one.trace) == 5
    final[0] = objective().vit(one.normalise(one.watched.float() / 255))
    for kept, expected_now in zip(one.trace, final, strict=True):
        assert torch.equal(kept, expected_now.half())
    assert not torch.equal(one.trace[0], one.trace[1])
    for every, steps in one.paths.items():
        expected = Steps(seen[0])
        for snapshot in seen[every::every]:
            expected.add(snapshot)
        assert steps.paths() == expected.paths()
        assert {way.steps for way in steps.paths().values()} == {4 // every}
    # Fewer snapshots cut corners: the way is shorter, and as far.
    paths = {every: steps.paths()[0, "attention"] for every, steps in one.paths.items()}
    assert paths[1].length > paths[2].length > paths[4].length
    assert paths[1].net == paths[4].net == paths[4].length
    assert 0 < paths[1].efficiency < paths[2].efficiency < paths[4].efficiency == 1


def test_rates_fall_from_layer_to_layer_and_only_matrices_decay() -> None:
    """Clark et al. (2020): the head has the rate, block i of L decay^(L - i) of it, what is before the blocks decay^(L + 1)."""
    one = objective()
    names = {id(p): name for name, p in one.named_parameters()}
    found = {names[id(p)]: group for group in engine._groups(one, 0.75) for p in group["params"]}
    assert found.keys() == set(names.values())
    for name, group in found.items():
        part = name.removeprefix("vit.").split(".")
        power = 0
        if part[0] == "blocks":
            power = DEPTH - int(part[1])
        elif name.startswith("vit."):
            power = 1 if part[0] == "norm" else DEPTH + 1
        assert group["scale"] == pytest.approx(0.75**power), name
        matrix = name.endswith("weight") and "norm" not in name
        assert group["decayed"] == matrix, name
    assert {group["scale"] for group in engine._groups(one, 1.0)} == {1.0}


def test_it_learns_the_labels(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    # A flip takes a quarter to its neighbour: two of the four classes are left.
    recipe = PLAIN.model_copy(update={"epochs": 60, "every": (1,), "crop": (0.9, 1.0)})
    curve = train(objective(recipe), images, tmp_path, recipe)
    assert curve[-1]["loss"] < 0.9 * curve[0]["loss"]


def test_it_draws_from_no_generator_that_others_use(images: tuple[Tensor, Tensor]) -> None:
    one = objective()
    random.seed(3)
    np.random.seed(3)
    expected = random.random(), np.random.uniform()
    random.seed(3)
    np.random.seed(3)
    one(images[0][:32].float() / 255, Progress(0, 5, 20), images[1][:32])
    assert (random.random(), np.random.uniform()) == expected


def test_the_head_sees_the_final_cls_token_and_nothing_else(
    images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = objective().eval()
    nn.init.normal_(one.head.weight)
    seen: list[Tensor] = []
    monkeypatch.setattr(one.vit, "forward_features", lambda x: seen.append(torch.randn(len(x), 17, 16)) or seen[-1])
    one.head.register_forward_hook(lambda _, given, __: seen.append(given[0]) or None)
    one(images[0][:32].float() / 255, Progress(0, 5, 20), images[1][:32])
    assert torch.equal(seen[1], seen[0][:, 0])


@pytest.mark.parametrize(("field", "value", "expected"), [("batch", 33, "an even batch"), ("every", (3,), "divide the epochs")])
def test_what_cannot_be_mixed_or_measured_is_refused(field: str, value: object, expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        FinetuneRecipe(**(RECIPE.model_dump() | {field: value}))
