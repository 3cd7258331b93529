"""Many probes at once: every configuration of Table A4 on one set of features, trained together.

Heads are stacked, so that a step is one matrix product for all of them; rates, penalties, warm-ups and lengths are vectors.
Each head ends as it would alone: nothing that one head does reaches another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput
from harness.data import draws
from harness.training.schedules import warmup_cosine

# LARS (You et al., 2017) as MAE's linear probe sets it.
MOMENTUM, TRUST, EPSILON = 0.9, 1e-3, 1e-8
# Numbers that one group of heads passes from layer to layer, or has as weights: 1.6 MB, what a core's cache holds.
CACHED = 400_000
# The BatchNorm without affine transformation before the classifier (A.3) has MAE's epsilon.
NORM_EPSILON = 1e-6


@dataclass(frozen=True)
class Configuration:
    """One way to train a probe. base_lr: for 256 images. l1: penalty on the weights. Lengths are in epochs."""

    base_lr: float
    weight_decay: float
    l1: float
    warmup_epochs: int
    epochs: int


def grid(
    rates: Sequence[float], decays: Sequence[float], l1: Sequence[float], warmups: Sequence[int], epochs: Sequence[int]
) -> list[Configuration]:
    """The cross product of Table A4, the last of them changing fastest."""
    return [Configuration(*chosen) for chosen in product(rates, decays, l1, warmups, epochs)]


class Probes(nn.Module):
    """h probes of one depth on features (n, d): depth - 1 blocks of Linear, BatchNorm and ReLU as wide as the features, and a
    Linear (A.4), behind one BatchNorm without affine transformation that all share.
    """

    def __init__(self, heads: int, width: int, classes: int, depth: int = 1, *, seed: int = 0) -> None:
        super().__init__()
        if depth < 1:
            raise InvalidInput("probe", field="depth", seen=depth, expected="at least 1, a linear probe")
        generator = torch.Generator().manual_seed(seed)
        self.heads, self.width, self.classes = heads, width, classes
        self.norm = nn.BatchNorm1d(width, affine=False, eps=NORM_EPSILON)
        outs = [width] * (depth - 1) + [classes]
        # All heads begin alike, as they would alone with this seed.
        begin = [0.01 * torch.randn(1, out, width, generator=generator) for out in outs]
        self.weights = nn.ParameterList(nn.Parameter(w.expand(heads, -1, -1).clone()) for w in begin)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(heads, out)) for out in outs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(heads * width) for _ in outs[1:])

    def forward(self, features: Tensor) -> Tensor:
        """(n, d) to logits (n, h, classes)."""
        x = self.norm(features)
        # Heads lie innermost in memory: over ten classes a softmax along the rows would not be vectorised.
        stacked = self.weights[0].transpose(0, 1).flatten(0, 1)
        y = torch.addmm(self.biases[0].T.flatten(), x, stacked.T).unflatten(1, (-1, self.heads)).transpose(1, 2)
        for norm, weight, bias in zip(self.norms, self.weights[1:], self.biases[1:], strict=True):
            y = F.relu(norm(y.flatten(1))).unflatten(1, (self.heads, -1))
            y = torch.baddbmm(bias[:, None], y.transpose(0, 1), weight.mT).transpose(0, 1)
        return y

    @torch.no_grad()
    def part(self, index: Tensor) -> Probes:
        """Some of the heads, as they are now."""
        depth = len(self.weights)
        other = Probes(len(index), self.width, self.classes, depth).to(self.weights[0])
        other.norm.load_state_dict(self.norm.state_dict())
        for mine, new in zip([*self.weights, *self.biases], [*other.weights, *other.biases], strict=True):
            new.copy_(mine[index])
        for old_norm, new_norm in zip(self.norms, other.norms, strict=True):
            state = {
                name: value if value.ndim == 0 else value.unflatten(0, (self.heads, -1))[index].flatten()
                for name, value in old_norm.state_dict().items()
            }
            new_norm.load_state_dict(state)
        return other.train(self.training)


class Lars:
    """LARS of stacked heads: the trust ratio of each head's weights. Biases and BatchNorms are neither scaled nor decayed."""

    def __init__(self, probes: Probes, configurations: Sequence[Configuration]) -> None:
        like = probes.weights[0]

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=like.dtype, device=like.device)

        self.decay = column([c.weight_decay for c in configurations])
        self.l1 = column([c.l1 for c in configurations])
        self.buffers = [torch.zeros_like(p) for p in probes.parameters()]

    @torch.no_grad()
    def step(self, probes: Probes, rates: Tensor) -> None:
        """rates: (h,), the learning rate of each head now."""
        for p, buffer in zip(probes.parameters(), self.buffers, strict=True):
            assert p.grad is not None
            gradient = p.grad
            if p.ndim == 3:
                gradient = gradient + self.l1[:, None, None] * p.sign()
                weight_norm, gradient_norm = p.flatten(1).norm(dim=1), gradient.flatten(1).norm(dim=1)
                ratio = TRUST * weight_norm / (gradient_norm + weight_norm * self.decay + EPSILON)
                ratio = torch.where((weight_norm > 0) & (gradient_norm > 0), ratio, 1.0)
                gradient = (gradient + self.decay[:, None, None] * p) * ratio[:, None, None]
            buffer.mul_(MOMENTUM).add_(gradient)
            by_head = p.view(len(rates), -1)
            by_head.sub_(rates[:, None] * buffer.view(len(rates), -1))

    def part(self, index: Tensor, heads: int) -> Self:
        """The optimiser of some of the heads."""
        self.decay, self.l1 = self.decay[index], self.l1[index]
        self.buffers = [b.view(heads, -1)[index].reshape(-1, *b.shape[1:]) for b in self.buffers]
        return self


@dataclass(frozen=True)
class Fitted:
    """Trained heads, in groups of those that ended together. order: which configuration each has, group by group."""

    groups: list[Probes]
    order: Tensor

    @torch.inference_mode()
    def logits(self, features: Tensor, chunk: int = 1024) -> Tensor:
        """(n, d) to (n, h, classes), heads in the order of the configurations. A head that diverged gives NaN."""
        parts = [torch.cat([group.eval()(x) for group in self.groups], 1) for x in features.split(chunk)]
        return torch.cat(parts)[:, self.order.argsort()]


def fit(
    view: Callable[[int], Tensor],
    labels: Tensor,
    classes: int,
    configurations: Sequence[Configuration],
    *,
    batch: int,
    depth: int = 1,
    seed: int = 0,
) -> Fitted:
    """Train a probe of each configuration, as many of them together as the machine does fastest.

    view: epoch to the features (n, d) that it sees, in one order of the images. labels: (n,) int64. batch: images a step; what
    an epoch has beyond whole batches is left out, another part each time. seed: of the weights and the order.
    Raises InvalidInput without configurations, on a batch that does not fit the images, or a label outside [0, classes).
    """
    if not configurations:
        raise InvalidInput("probe", field="configurations", seen="none", expected="at least one")
    if not 2 <= batch <= len(labels):
        raise InvalidInput("probe", field="batch", seen=batch, expected=f"2 to the {len(labels)} images")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InvalidInput("probe", field="labels", seen=f"{labels.min()} to {labels.max()}", expected=f"0 to {classes - 1}")
    n = len(configurations)
    step = _together(n, view(0), batch, classes, depth)
    parts = [
        _fit(view, labels, classes, configurations[i : i + step], batch=batch, depth=depth, seed=seed)
        for i in range(0, n, step)
    ]
    orders = [i * step + part.order for i, part in enumerate(parts)]
    return Fitted([group for part in parts for group in part.groups], torch.cat(orders))


def _together(heads: int, features: Tensor, batch: int, classes: int, depth: int) -> int:
    """How many heads train at once: all of them, but on a CPU no more than its cache holds, which is up to 3 times as fast."""
    if features.device.type != "cpu":
        return heads
    width = features.shape[1]
    activations, weights = batch * (classes if depth == 1 else width), width * (classes + (depth - 1) * width)
    groups = math.ceil(heads * max(activations, weights) / CACHED)
    return math.ceil(heads / groups)


def _fit(
    view: Callable[[int], Tensor],
    labels: Tensor,
    classes: int,
    configurations: Sequence[Configuration],
    *,
    batch: int,
    depth: int,
    seed: int,
) -> Fitted:
    """Train heads together."""
    first = view(0)
    probes = Probes(len(configurations), first.shape[1], classes, depth, seed=seed).to(first)
    optimiser, per_epoch = Lars(probes, configurations), len(labels) // batch
    active = torch.arange(len(configurations))
    groups, order = [], []
    lengths = torch.tensor([c.epochs for c in configurations])
    for epoch in range(int(lengths.max())):
        features = view(epoch)
        shuffled = torch.from_numpy(draws.permutation(seed, f"epoch{epoch}", len(labels))).to(first.device)
        probes.train()
        for i in range(per_epoch):
            chosen = shuffled[i * batch : (i + 1) * batch]
            logits = probes(features[chosen])
            probes.zero_grad(set_to_none=True)
            logits.backward(_loss_gradient(logits.detach(), labels[chosen]))
            now = [_rate(configurations[j], epoch * per_epoch + i, per_epoch, batch) for j in active.tolist()]
            optimiser.step(probes, first.new_tensor(now))
        ended = lengths[active] == epoch + 1
        if ended.any():
            groups.append(probes.part(ended.nonzero()[:, 0]))
            order.append(active[ended])
            going = (~ended).nonzero()[:, 0]
            if len(going):
                optimiser = optimiser.part(going, len(active))
                probes, active = probes.part(going), active[going]
    return Fitted(groups, torch.cat(order))


def _loss_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """Gradient of each head's own mean cross-entropy by its logits, (n, h, classes)."""
    share = logits.transpose(1, 2).contiguous()
    share.sub_(share.amax(1, keepdim=True)).exp_()
    share.div_(share.sum(1, keepdim=True))
    share[torch.arange(len(labels), device=labels.device), labels] -= 1
    return share.div_(len(labels)).transpose(1, 2)


def _rate(configuration: Configuration, step: int, per_epoch: int, batch: int) -> float:
    warmup, total = configuration.warmup_epochs * per_epoch, configuration.epochs * per_epoch
    return warmup_cosine(step, warmup, total, configuration.base_lr * batch / 256)
