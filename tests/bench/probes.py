"""The probe grid: all 216 configurations in one pass beside one after the other, and beside scikit-learn for a single probe."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from timm.optim import Lars
from torch import Tensor, nn

from harness.training.probes import Configuration, fit, grid
from harness.training.schedules import warmup_cosine
from tests.bench.measure import Entry, Item, Measured

CLASSES, BATCH, ALONE = 10, 256, 4
TABLE = grid([80.0, 8.0, 0.8], [0.0, 0.05, 0.1], [0.0, 1e-1, 1e-2, 1e-3, 1e-4, 5e-4], [1, 4], [10, 20])
OURS, PEER, LIBRARY = "fit, 216 heads", "plain torch, one by one", "scikit-learn, one probe"


def item(images: int, width: int) -> Item:
    """Random features around one centre for each class, float32."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % CLASSES
    x = torch.randn(CLASSES, width, generator=g)[labels] + 2 * torch.randn(images, width, generator=g)
    # Configurations of both lengths, so that what they take stands for all.
    some = [TABLE[i] for i in range(0, len(TABLE), len(TABLE) // ALONE + 1)][:ALONE]

    def remarks(measured: Mapping[str, Measured]) -> list[str]:
        mine = measured[OURS]
        times = [f"{peer} takes {measured[peer].wall / mine.wall:.1f} x as long" for peer in (PEER,)]
        one = measured[LIBRARY].wall / (mine.wall / len(TABLE))
        return [*times, f"(aim at least 40); one of ours takes 1/{one:.1f} of scikit-learn's time"]

    entries = [
        Entry(OURS, lambda: fit(lambda _: x, labels, CLASSES, TABLE, batch=BATCH)),
        Entry(
            PEER, lambda: [_alone(x, labels, c) for c in some], len(TABLE) / len(some), f"{len(some)} of {len(TABLE)}, scaled"
        ),
        Entry(LIBRARY, lambda: LogisticRegression(max_iter=300).fit(x.numpy(), labels.numpy())),
    ]
    return Item(f"The grid of Table A4: {images} x {width}", entries, remarks)


def _alone(x: Tensor, labels: Tensor, c: Configuration) -> nn.Module:
    model = nn.Sequential(nn.BatchNorm1d(x.shape[1], affine=False, eps=1e-6), nn.Linear(x.shape[1], CLASSES))
    groups = [
        {"params": [model[1].weight], "weight_decay": c.weight_decay, "always_adapt": True},
        {"params": [model[1].bias], "weight_decay": 0.0, "always_adapt": False},
    ]
    optimiser, steps = Lars(groups, lr=1.0, momentum=0.9), len(x) // BATCH
    for epoch in range(c.epochs):
        order = torch.randperm(len(x))
        for i in range(steps):
            chosen = order[i * BATCH : (i + 1) * BATCH]
            loss = F.cross_entropy(model(x[chosen]), labels[chosen]) + c.l1 * model[1].weight.abs().sum()
            rate = warmup_cosine(epoch * steps + i, c.warmup_epochs * steps, c.epochs * steps, c.base_lr * BATCH / 256)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model
