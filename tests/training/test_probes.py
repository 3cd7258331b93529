"""Probes that train together end as each would alone, by a plain loop with timm's LARS."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from timm.optim import Lars
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput
from harness.data import draws
from harness.training import probes
from harness.training.probes import Configuration, fit, grid
from harness.training.schedules import warmup_cosine

N, WIDTH, CLASSES, BATCH, SEED = 90, 6, 4, 32, 3


@pytest.fixture
def world() -> tuple[Tensor, Tensor, Tensor]:
    """Two views of the training features in float64, labels, and other features."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % CLASSES
    centres = torch.randn(CLASSES, WIDTH, generator=g, dtype=torch.float64)
    views = centres[labels] + 0.8 * torch.randn(2, N, WIDTH, generator=g, dtype=torch.float64) + 5.0
    return views, labels, torch.randn(20, WIDTH, generator=g, dtype=torch.float64) + 5.0


def alone(views: Tensor, labels: Tensor, c: Configuration, depth: int, queries: Tensor) -> Tensor:
    """One probe by torch's own layers, autograd and timm's LARS: logits (n, classes)."""
    g = torch.Generator().manual_seed(SEED)
    layers: list[nn.Module] = [nn.BatchNorm1d(WIDTH, affine=False, eps=1e-6)]
    for i in range(depth):
        linear = nn.Linear(WIDTH, CLASSES if i == depth - 1 else WIDTH)
        with torch.no_grad():
            linear.weight.copy_(0.01 * torch.randn(1, *linear.weight.shape, generator=g)[0])
            linear.bias.zero_()
        layers.append(linear)
        if i < depth - 1:
            layers += [nn.BatchNorm1d(WIDTH), nn.ReLU()]
    model = nn.Sequential(*layers).double()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": c.weight_decay, "always_adapt": True},
        {"params": others, "weight_decay": 0.0, "always_adapt": False},
    ]
    optimiser = Lars(groups, lr=1.0, momentum=0.9, trust_coeff=1e-3, eps=1e-8)
    steps = N // BATCH
    for epoch in range(c.epochs):
        order = torch.from_numpy(draws.permutation(SEED, f"epoch{epoch}", N))
        for i in range(steps):
            chosen = order[i * BATCH : (i + 1) * BATCH]
            loss = F.cross_entropy(model(views[epoch % 2][chosen]), labels[chosen])
            loss = loss + c.l1 * sum(p.abs().sum() for p in matrices)
            rate = warmup_cosine(epoch * steps + i, c.warmup_epochs * steps, c.epochs * steps, c.base_lr * BATCH / 256)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()(queries).detach()


CONFIGURATIONS = grid([20.0, 2.0], [0.0, 0.1], [0.0, 1e-3], [1, 2], [3, 6])


# All heads at once, in groups of unequal length, and each by itself.
@pytest.mark.parametrize("cached", [probes.CACHED, 1500, 1])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_head_ends_as_it_would_alone(
    world: tuple[Tensor, Tensor, Tensor], depth: int, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "CACHED", cached)
    views, labels, queries = world
    together = fit(lambda e: views[e % 2], labels, CLASSES, CONFIGURATIONS, batch=BATCH, depth=depth, seed=SEED)
    logits = together.logits(queries, chunk=7)
    assert logits.shape == (20, len(CONFIGURATIONS), CLASSES)
    for i, configuration in enumerate(CONFIGURATIONS):
        expected = alone(views, labels, configuration, depth, queries)
        torch.testing.assert_close(logits[:, i], expected, rtol=1e-9, atol=1e-11, msg=str(configuration))
    # And what differs between them matters.
    assert len({tuple(row.tolist()) for row in logits.transpose(0, 1).flatten(1)}) == len(CONFIGURATIONS)


def test_groups_are_as_large_as_the_cache_and_alike() -> None:
    narrow, wide = torch.zeros(1, 64), torch.zeros(1, 768)
    assert probes._together(5, narrow, 256, 10, 1) == 5
    assert probes._together(216, narrow, 256, 10, 1) == 108
    # Deep heads pass as much on as their inputs are wide, and wide ones have more weights than they pass on.
    assert probes._together(216, narrow, 256, 10, 5) == 22
    assert probes._together(216, wide, 256, 10, 1) == 44
    # One head alone may be larger than that.
    assert probes._together(216, wide, 256, 1000, 5) == 1


def test_the_grid_is_the_cross_product() -> None:
    table = grid([0.1, 0.01, 0.001], [0, 0.05, 0.1], [0, 1e-1, 1e-2, 1e-3, 1e-4, 5e-4], [10, 40], [100, 200])
    assert len(set(table)) == 216
    assert table[0] == Configuration(0.1, 0, 0, 10, 100)
    assert table[1].epochs == 200


def test_a_probe_learns_what_is_linearly_there(world: tuple[Tensor, Tensor, Tensor]) -> None:
    views, labels, _ = world
    fitted = fit(lambda e: views[e % 2], labels, CLASSES, [Configuration(200.0, 0, 0, 1, 100)], batch=BATCH)
    right = fitted.logits(views.flatten(0, 1))[:, 0].argmax(1) == labels.repeat(2)
    peer = LogisticRegression(C=1e3, max_iter=1000).fit(views.flatten(0, 1), labels.repeat(2))
    assert right.double().mean() > peer.score(views.flatten(0, 1), labels.repeat(2)) - 0.03


def test_a_head_that_diverges_leaves_the_others_as_they_are(world: tuple[Tensor, Tensor, Tensor]) -> None:
    views, labels, queries = world
    sane = [Configuration(2.0, 0, 0, 1, 4), Configuration(20.0, 0.1, 1e-3, 1, 8)]
    wild = Configuration(1e300, 0.1, 0, 0, 8)
    for depth in (1, 2):
        with_it = fit(lambda _: views[0], labels, CLASSES, [sane[0], wild, sane[1]], batch=BATCH, depth=depth)
        without = fit(lambda _: views[0], labels, CLASSES, sane, batch=BATCH, depth=depth)
        logits = with_it.logits(queries)
        assert not torch.isfinite(logits[:, 1]).all()
        torch.testing.assert_close(logits[:, [0, 2]], without.logits(queries), rtol=1e-12, atol=1e-14)


def test_what_cannot_be_fitted_is_refused(world: tuple[Tensor, Tensor, Tensor]) -> None:
    views, labels, _ = world
    one = [Configuration(0.1, 0, 0, 0, 1)]
    with pytest.raises(InvalidInput, match="configurations"):
        fit(lambda _: views[0], labels, CLASSES, [], batch=BATCH)
    with pytest.raises(InvalidInput, match="batch"):
        fit(lambda _: views[0], labels, CLASSES, one, batch=N + 1)
    with pytest.raises(InvalidInput, match=r"labels\n  seen: 0 to 3\n  expected: 0 to 2"):
        fit(lambda _: views[0], labels, CLASSES - 1, one, batch=BATCH)
    with pytest.raises(InvalidInput, match="depth"):
        probes.Probes(1, 3, 2, 0)
