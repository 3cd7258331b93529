"""Weights that others released: checked against their SHA-256, read without running code, loaded whole or not at all."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.params import Released

# Where a layout keeps the backbone: the dictionary's key and the prefix of the backbone's names in it.
_WHERE = {
    "plain": ((), ""),
    "mae": (("model",), ""),
    "moco_v3": (("state_dict",), "module.base_encoder."),
    "dino": ((), ""),
    "msn": (("target_encoder",), "module."),
}
# What a released file holds beside the backbone and may be left out without a word.
_BESIDE = {"plain": (), "mae": (), "moco_v3": ("head.",), "dino": (), "msn": ("fc.",)}


def load(released: Released, network: nn.Module) -> None:
    """Put released weights into the network.

    Raises MissingArtifact when the file is not there; InvalidInput when its SHA-256 is not set or another, when it holds
    anything but tensors, when its layout is another, or when it lacks any tensor of the backbone.
    """
    path = Path(released.file)
    if not path.is_file():
        raise MissingArtifact(path, "released weights", next_step=f"download the {released.layout} weights to {path}")
    sha = _sha256(path)
    if released.sha256 != sha:
        seen = f"{sha}, but params.yaml {'names none' if not released.sha256 else 'has ' + released.sha256}"
        raise InvalidInput(path, field="sha256", seen=seen, expected="the SHA-256 of the file as its authors publish it")
    content: Any = _read(path)
    keys, prefix = _WHERE[released.layout]
    for key in keys:
        if not isinstance(content, Mapping) or key not in content:
            seen = sorted(map(str, content))[:10] if isinstance(content, Mapping) else type(content).__name__
            raise InvalidInput(path, field=f"layout {released.layout}", seen=seen, expected=f"a dictionary with {key!r}")
        content = content[key]
    if not isinstance(content, Mapping):
        raise InvalidInput(path, field=f"layout {released.layout}", seen=type(content).__name__, expected="named tensors")
    beside = _BESIDE[released.layout]
    found = {
        name.removeprefix(prefix): tensor
        for name, tensor in content.items()
        if isinstance(tensor, Tensor) and name.startswith(prefix) and not name.removeprefix(prefix).startswith(beside or "\0")
    }
    _fit(path, found, network)


def _fit(path: Path, found: Mapping[str, Tensor], network: nn.Module) -> None:
    expected = network.state_dict()
    fits = {name for name, tensor in expected.items() if name in found and found[name].shape == tensor.shape}
    missing, extra = sorted(set(expected) - fits), sorted(set(found) - set(expected))
    if missing or extra:
        seen = f"{len(fits)} of {len(expected)} tensors; missing or of another shape {missing[:3]}, unknown {extra[:3]}"
        raise InvalidInput(path, field="backbone", seen=seen, expected="exactly the tensors of the architecture")
    network.load_state_dict(dict(found), strict=True)


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InvalidInput(
            path, field="file", seen=str(error).split("\n")[0], expected="a whole file that holds only tensors"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
