"""A linear read-out of an object's mask from frozen patch tokens: one logistic regression for each pixel of a patch."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.artifacts.errors import InvalidInput


class ReadOut(NamedTuple):
    """weight (k, w) and bias (k,) of k logistic regressions on tokens (m, w) less centre, over scale, both (w,)."""

    weight: Tensor
    bias: Tensor
    centre: Tensor
    scale: Tensor

    def logits(self, tokens: Tensor) -> Tensor:
        """(m, w) to (m, k)."""
        return F.linear((tokens - self.centre) * self.scale, self.weight, self.bias)


def fit(tokens: Tensor, inside: Tensor, *, penalty: float, steps: int = 200) -> ReadOut:
    """Fit the regressions together by L-BFGS: tokens (m, w), inside (m, k) in {0, 1}.

    penalty: on the mean square of the weights, which stand for standardised features; the biases are free.
    Raises InvalidInput on other shapes, and where no or every pixel is inside, from which nothing can be learnt.
    """
    if tokens.ndim != 2 or inside.ndim != 2 or len(tokens) != len(inside):
        seen = f"{tuple(tokens.shape)} and {tuple(inside.shape)}"
        raise InvalidInput("segmentation", field="tokens", seen=seen, expected="(m, width) and (m, pixels)")
    share = float(inside.float().mean())
    if not 0 < share < 1:
        raise InvalidInput("segmentation", field="inside", seen=f"{share:.0%} of the pixels", expected="some, not all")
    centre, spread = tokens.mean(0), tokens.std(0)
    # A feature that never varies has no weight.
    scale = torch.where(spread > 0, 1 / spread, 0.0)
    x, truth = (tokens - centre) * scale, inside.float()
    weight = torch.zeros(inside.shape[1], tokens.shape[1], requires_grad=True)
    bias = torch.full((inside.shape[1],), torch.logit(torch.tensor(share)).item(), requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=steps, tolerance_grad=1e-6, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(F.linear(x, weight, bias), truth) + penalty * weight.square().mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    return ReadOut(weight.detach(), bias.detach(), centre, scale)
