"""The online code: by hand, of what knows nothing and everything, and each portion only from what was sent before it."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from harness.artifacts.errors import InvalidInput
from harness.training.codelength import online_code
from harness.training.probes import Fitted


class Answers:
    """Probes whose logits are a function of the features."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def logits(self, features: Tensor) -> Tensor:
        return cast(Tensor, self.answer(features))


def coded(answer: Any, n: int = 64, classes: int = 4, doublings: int = 3) -> tuple[Tensor, list[int]]:
    labels, asked = torch.arange(n) % classes, []

    def train(seen: int) -> Fitted:
        asked.append(seen)
        return cast(Fitted, Answers(answer))

    return online_code(train, torch.eye(classes)[labels], labels, classes, doublings), asked


def test_who_knows_nothing_pays_what_labels_cost_without_features() -> None:
    code, asked = coded(lambda x: torch.zeros(len(x), 5, 4))
    assert code.dtype == torch.float64
    torch.testing.assert_close(code, torch.ones(64, dtype=torch.float64))
    # Each portion is as long as all that was sent before it.
    assert asked == [8, 16, 32]


def test_who_knows_everything_pays_for_the_first_portion_only() -> None:
    code, _ = coded(lambda x: 1000 * x[:, None])
    assert code[:8].tolist() == [1.0] * 8
    assert code[8:].abs().max() < 1e-12


def test_a_code_by_hand() -> None:
    """Half the probability on the truth costs one bit, of the two that four classes have; heads are averaged."""
    code, _ = coded(lambda x: torch.stack([math.log(3) * x, torch.zeros_like(x)], 1))
    assert code[20].item() == pytest.approx((1 / 2 + 1) / 2)


def test_a_portion_is_sent_before_anything_is_learnt_from_it() -> None:
    """Labels that contradict all earlier ones cost more than without features."""
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    labels = (x[:, 0] > 0).long()
    labels[128:] = 1 - labels[128:]

    def train(n: int) -> Fitted:
        means = torch.stack([x[:n][labels[:n] == c].mean(0) for c in (0, 1)])
        return cast(Fitted, Answers(lambda y: -10 * torch.cdist(y, means)[:, None]))

    code = online_code(train, x, labels, 2, 2)
    assert code[:64].tolist() == [1.0] * 64
    assert code[64:128].mean() < 0.5
    assert code[128:].mean() > 2


@pytest.mark.parametrize(("n", "classes", "doublings"), [(8, 4, 3), (64, 1, 1), (64, 4, 0)])
def test_what_cannot_be_coded_is_refused(n: int, classes: int, doublings: int) -> None:
    with pytest.raises(InvalidInput, match="codelength"):
        coded(lambda x: x[:, None], n, classes, doublings)
