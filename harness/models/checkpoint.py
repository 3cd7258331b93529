"""A model's weights as an artifact: tensors under the names that timm gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import Provenance
from harness.artifacts.tables import checkpoint


def save(path: Path, network: nn.Module, provenance: Provenance, precision: str = "float16") -> str:
    """Write the network's weights, in float16 or float32; return the artifact's SHA-256.

    Raises InvalidInput on a weight that is beyond the precision.
    """
    kept = getattr(torch, precision)
    tensors = {name: _kept(value, kept).detach().cpu().numpy() for name, value in network.state_dict().items()}
    return store.write_arrays(path, checkpoint(tensors), tensors, provenance)


def load(path: Path, network: nn.Module, precision: str = "float16") -> store.Arrays:
    """Put the weights into the network, all of them or none; return what was read.

    Raises MissingArtifact, and InvalidInput for a damaged file, and one of another precision or architecture.
    """
    kept = getattr(torch, precision)
    state = network.state_dict()
    expected = {name: _kept(value, kept).cpu().numpy() for name, value in state.items()}
    arrays = store.read_arrays(path, checkpoint(expected))
    for name, array in expected.items():
        if arrays[name].shape != array.shape:
            raise InvalidInput(path, field=name, seen=arrays[name].shape, expected=array.shape, next_step=store.REBUILD)
    tensors = {name: _kept(torch.from_numpy(np.array(arrays[name])), torch.float32) for name in expected}
    network.load_state_dict({name: tensor.reshape(state[name].shape) for name, tensor in tensors.items()}, strict=True)
    return arrays


def _kept(value: Tensor, precision: torch.dtype) -> Tensor:
    """A weight at a precision; a count, such as a BatchNorm's of its batches, as it is, but in an array of one."""
    return torch.atleast_1d(value.to(precision) if value.is_floating_point() else value)
