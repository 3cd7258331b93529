"""Many probes at once: every configuration of Table A4 on one set of features, trained together.

Heads are stacked, so that a step is one matrix product for all of them; rates, penalties, warm-ups and lengths are vectors.
Each head ends as it would alone: nothing that one head does reaches another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
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
# Those of a deeper probe's blocks are torch's.
BLOCK_EPSILON, NORM_MOMENTUM = 1e-5, 0.1


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

    A bias in front of a BatchNorm changes nothing, and the blocks have none. Parameters, with l = depth - 1 blocks: blocks
    (l, h, d, d), gains and shifts (l, h, d), last (h, classes, d), bias (h, classes); buffers: means, variances (l, h, d).
    """

    means: Tensor
    variances: Tensor

    def __init__(self, heads: int, width: int, classes: int, depth: int = 1, *, seed: int = 0) -> None:
        super().__init__()
        if depth < 1:
            raise InvalidInput("probe", field="depth", seen=depth, expected="at least 1, a linear probe")
        generator = torch.Generator().manual_seed(seed)
        self.norm = nn.BatchNorm1d(width, affine=False, eps=NORM_EPSILON)

        def alike(out: int) -> Tensor:
            """All heads begin alike, as they would alone with this seed."""
            return (0.01 * torch.randn(out, width, generator=generator)).repeat(heads, 1, 1)

        none = torch.empty(0, heads, width, width)
        self.blocks = nn.Parameter(torch.cat([none, *(alike(width)[None] for _ in range(depth - 1))]))
        self.gains, self.shifts = (nn.Parameter(of(depth - 1, heads, width)) for of in (torch.ones, torch.zeros))
        self.last, self.bias = nn.Parameter(alike(classes)), nn.Parameter(torch.zeros(heads, classes))
        self.register_buffer("means", torch.zeros(depth - 1, heads, width))
        self.register_buffer("variances", torch.ones(depth - 1, heads, width))

    def forward(self, features: Tensor) -> Tensor:
        """(n, d) to logits (n, h, classes)."""
        # Images lie innermost in memory from here on, so that BatchNorms and the softmax over few classes run along rows.
        y = self.norm(features).T
        for weight, gain, shift, mean, variance in zip(
            self.blocks, self.gains, self.shifts, self.means, self.variances, strict=True
        ):
            if self.training:
                y, seen_mean, seen_variance = _Block.apply(y, weight, gain, shift)
                n = y.shape[-1]
                mean.lerp_(seen_mean, NORM_MOMENTUM)
                variance.lerp_(seen_variance * (n / (n - 1)), NORM_MOMENTUM)
            else:
                scale = gain * (variance + BLOCK_EPSILON).rsqrt()
                y = (weight @ y).sub_(mean[..., None]).mul_(scale[..., None]).add_(shift[..., None]).relu_()
        return (self.last @ y + self.bias[..., None]).permute(2, 0, 1)


class _Block(torch.autograd.Function):
    """Linear, BatchNorm and ReLU of h heads in as few passes over memory as torch allows: half the time of its own modules.

    x (h, d, n), or (d, n) that all heads share; weight (h, d, d), gain and shift (h, d) -> (h, d, n), and the mean and biased
    variance (h, d) in front of the BatchNorm.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, gain: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        centred = weight @ x
        mean = centred.mean(-1)
        centred.sub_(mean[..., None])
        variance = torch.linalg.vecdot(centred, centred) / x.shape[-1]
        inverse = (variance + BLOCK_EPSILON).rsqrt()
        y = centred.mul((gain * inverse)[..., None]).add_(shift[..., None]).relu_()
        ctx.save_for_backward(x, weight, gain, centred, inverse, y)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        x, weight, gain, centred, inverse, y = ctx.saved_tensors
        passed = torch.ops.aten.threshold_backward(gradient, y, 0.0)
        of_shift, of_gain = passed.sum(-1), torch.linalg.vecdot(passed, centred) * inverse
        scale, n = gain * inverse, y.shape[-1]
        # By the BatchNorm's input: what goes along with its output, or with all images alike, has no effect.
        passed.mul_(scale[..., None]).sub_((of_shift * scale / n)[..., None])
        passed.sub_(centred.mul_((of_gain * scale * inverse / n)[..., None]))
        return weight.mT @ passed if ctx.needs_input_grad[0] else None, passed @ x.mT, of_gain, of_shift


class Lars:
    """LARS of stacked heads: the trust ratio of each head's weights. Biases and BatchNorms are neither scaled nor decayed."""

    def __init__(self, probes: Probes, configurations: Sequence[Configuration]) -> None:
        like = probes.last

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=like.dtype, device=like.device)

        self.decay = column([c.weight_decay for c in configurations])
        self.l1 = column([c.l1 for c in configurations])
        self.buffers = {name: torch.zeros_like(p) for name, p in probes.named_parameters()}

    @torch.no_grad()
    def step(self, probes: Probes, rates: Tensor) -> None:
        """rates: (h,), the learning rate of each head now."""
        for name, p in probes.named_parameters():
            if not p.numel():
                continue
            assert p.grad is not None
            gradient, rate, buffer = p.grad, rates[:, None], self.buffers[name]
            if name in ("blocks", "last"):
                rate = rate[..., None]
                gradient = p.sign().mul_(self.l1[:, None, None]).add_(gradient)
                weight_norm, gradient_norm = p.flatten(-2).norm(dim=-1), gradient.flatten(-2).norm(dim=-1)
                ratio = TRUST * weight_norm / (gradient_norm + weight_norm * self.decay + EPSILON)
                ratio = torch.where((weight_norm > 0) & (gradient_norm > 0), ratio, 1.0)
                gradient.add_(self.decay[:, None, None] * p).mul_(ratio[..., None, None])
            buffer.mul_(MOMENTUM).add_(gradient)
            p.sub_(rate * buffer)


@dataclass(frozen=True)
class Fitted:
    """Trained heads, in the groups that were trained together. order: which configuration each has, group by group."""

    groups: list[Probes]
    order: list[int]

    @torch.inference_mode()
    def logits(self, features: Tensor, chunk: int = 1024) -> Tensor:
        """(n, d) to (n, h, classes), heads in the order of the configurations. A head that diverged gives NaN."""
        parts = [torch.cat([group.eval()(x) for group in self.groups], 1) for x in features.split(chunk)]
        return torch.cat(parts)[:, np.argsort(self.order)]


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
    groups, order = [], []
    # Heads that end together go together: they lie as they are from the first step to the last.
    for epochs in {c.epochs: None for c in configurations}:
        alike = [i for i, c in enumerate(configurations) if c.epochs == epochs]
        step = _together(len(alike), view(0), batch, classes, depth)
        for start in range(0, len(alike), step):
            chosen = alike[start : start + step]
            some = [configurations[i] for i in chosen]
            groups.append(_fit(view, labels, classes, some, batch=batch, depth=depth, seed=seed))
            order += chosen
    return Fitted(groups, order)


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
) -> Probes:
    """Train heads of one length together."""
    first = view(0)
    probes = Probes(len(configurations), first.shape[1], classes, depth, seed=seed).to(first).train()
    optimiser, per_epoch = Lars(probes, configurations), len(labels) // batch
    # Few of the configurations differ in what their rate is at a step.
    schedules = [(c.base_lr * batch / 256, c.warmup_epochs * per_epoch) for c in configurations]
    steps = configurations[0].epochs * per_epoch
    for epoch in range(configurations[0].epochs):
        features = view(epoch)
        shuffled = torch.from_numpy(draws.permutation(seed, f"epoch{epoch}", len(labels))).to(first.device)
        for i in range(per_epoch):
            chosen = shuffled[i * batch : (i + 1) * batch]
            logits = probes(features[chosen])
            probes.zero_grad(set_to_none=True)
            logits.backward(_loss_gradient(logits.detach(), labels[chosen]))
            now = {s: warmup_cosine(epoch * per_epoch + i, s[1], steps, s[0]) for s in set(schedules)}
            optimiser.step(probes, first.new_tensor([now[s] for s in schedules]))
    return probes


def _loss_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """Gradient of each head's own mean cross-entropy by its logits, (n, h, classes)."""
    share = logits.permute(1, 2, 0).softmax(1)
    share[:, labels, torch.arange(len(labels), device=labels.device)] -= 1
    return share.div_(len(labels)).permute(2, 0, 1)
