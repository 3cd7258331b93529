"""A checkpoint gives back what a network had: weights at its precision, and a BatchNorm's statistics and count."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.artifacts.provenance import Provenance
from harness.models import checkpoint
from harness.models.build import build

MADE = Provenance(profile="p", stage="weights", parameters="", code="", images="")


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_network_with_batch_normalisation_comes_back(tmp_path: Path, precision: str) -> None:
    source, target = (build("resnet10t", seed=seed) for seed in (1, 2))
    with torch.no_grad():
        source.train()(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    path = tmp_path / "artifacts" / "p" / "checkpoints" / "one.safetensors"
    checkpoint.save(path, source, MADE, precision)
    checkpoint.load(path, target, precision)
    assert target.state_dict()["bn1.num_batches_tracked"] == 1
    for name, tensor in source.state_dict().items():
        kept = tensor.to(getattr(torch, precision)).float() if tensor.is_floating_point() else tensor
        torch.testing.assert_close(target.state_dict()[name], kept, rtol=0, atol=0)
