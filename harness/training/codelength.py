"""Online code length of labels by probes on features: short where the labels are learnt from few images."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.artifacts.errors import InvalidInput
from harness.training.probes import Fitted


def online_code(train: Callable[[int], Fitted], features: Tensor, labels: Tensor, classes: int, doublings: int) -> Tensor:
    """The online code of the labels (Blier & Ollivier, 2018; Voita & Titov, 2020, section 2.2.2), in shares of log2(classes).

    train: n to probes trained on the first n images. features: (n, d), labels: (n,). The first n / 2^doublings labels are sent
    as they are, and each later portion, as many as all before it, at the cost -log2 p of a probe that was trained on those
    before. Returns (n,) float64, the mean over the probes: 1 is what labels cost without features.
    Raises InvalidInput when so few images cannot be halved so often, or fewer than two classes.
    """
    n = len(labels)
    bounds = [n >> i for i in range(doublings, -1, -1)]
    if bounds[0] < 2 or doublings < 1:
        raise InvalidInput(
            "codelength", field="doublings", seen=doublings, expected=f"at least 1, at least 2 of {n} images left"
        )
    if classes < 2:
        raise InvalidInput("codelength", field="classes", seen=classes, expected="at least 2")
    code = torch.ones(n, dtype=torch.float64, device=labels.device)
    for seen, end in pairwise(bounds):
        logits = train(seen).logits(features[seen:end]).double()
        truth = labels[seen:end, None].expand(-1, logits.shape[1])
        code[seen:end] = F.cross_entropy(logits.transpose(1, 2), truth, reduction="none").mean(1) / math.log(classes)
    return code
