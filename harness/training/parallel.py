"""Training steps whose images the processes of one launch share.

Each process draws the same views of the whole batch, forwards its share of them through the network, and gets the features of
the others. Heads and losses are computed of the whole batch everywhere, so that several processes end as one does, but for
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.artifacts.errors import InvalidInput
from harness.training.processes import joined


def spread(forward: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """forward(*inputs), of which each process computes an equal share of the rows; without a launch just that.

    inputs: tensors with one row for each image, the same in all processes. forward: rows to rows, each by itself. The gradients
    of its parameters are whole after `average`.
    """
    rank, count = joined()
    if count == 1:
        return forward(*inputs)
    gathered: Tensor = _Gathered.apply(forward(*(x.chunk(count)[rank] for x in inputs)))
    return gathered


def average(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each parameter's gradient by its mean over the processes."""
    _, count = joined()
    if count == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = flat.div_(count).split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def refuse_unequal(network: nn.Module, batch: int) -> None:
    """Raise InvalidInput where processes cannot share a batch, or would not do what one process does."""
    _, count = joined()
    if count == 1:
        return
    if batch % count:
        raise InvalidInput("params.yaml", field="batch", seen=batch, expected=f"a multiple of the {count} processes")
    if any(isinstance(module, _BatchNorm) for module in network.modules()):
        seen = f"{type(network).__name__}, whose BatchNorm is of all images of a batch, in {count} processes"
        raise InvalidInput(
            "params.yaml", field="architecture", seen=seen, expected="one process, or a network without BatchNorm"
        )


class _Gathered(torch.autograd.Function):
    """The rows of all processes, in their order. The same loss is computed of them everywhere, so that a process has the whole
    gradient of its own rows. It counts once among the processes, over which gradients are averaged: hence the factor.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        count = dist.get_world_size()
        return count * gradient.chunk(count)[dist.get_rank()]
