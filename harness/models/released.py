"""Weights that others released: checked against their SHA-256, read without running code, loaded whole or not at all."""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.params import Released
from harness.models import lock

# Where a layout keeps the backbone: the dictionary's key and the prefix of the backbone's names in it.
_WHERE = {
    "plain": ((), ""),
    "mae": (("model",), ""),
    "moco_v3": (("state_dict",), "module.base_encoder."),
    "dino": ((), ""),
    "msn": (("target_encoder",), "module."),
}
# What a released file holds beside the backbone and may be left out without a word.
_BESIDE: dict[str, tuple[str, ...]] = {"plain": (), "mae": (), "moco_v3": ("head.", "fc."), "dino": (), "msn": ("fc.",)}
# What torch and safetensors were seen to raise on files with random bytes: almost anything.
_BROKEN = (
    SafetensorError,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    struct.error,
)


def load(released: Released, network: nn.Module) -> None:
    """Put released weights into the network.

    Raises MissingArtifact when the file is not there; InvalidInput when its SHA-256 is not set or another, when it holds
    anything but tensors, plain values and an argparse.Namespace of them, when its layout is another, or when its backbone lacks
    a tensor of the network, has one of another shape or one more. The network is then as it was. Nothing in the file is ever
    executed.
    """
    path = released.path
    if not path.is_file():
        step = "python -m harness fetch" if released.url else f"download the {released.layout} weights to {path}"
        raise MissingArtifact(path, "released weights", next_step=step)
    raw = path.read_bytes()
    sha = hashlib.sha256(raw).hexdigest()
    expected, held = lock.expected(released)
    if sha != expected:
        seen = f"{sha}, but {held} {'has ' + expected if expected else 'names none'}"
        raise InvalidInput(path, field="sha256", seen=seen, expected="the SHA-256 of the file as its authors publish it")
    content: Any = _read(path, raw)
    keys, prefix = _WHERE[released.layout]
    for key in keys:
        if not isinstance(content, Mapping) or key not in content:
            held = sorted(map(str, content))[:10] if isinstance(content, Mapping) else type(content).__name__
            raise InvalidInput(path, field=f"layout {released.layout}", seen=held, expected=f"a dictionary with {key!r}")
        content = content[key]
    if not isinstance(content, Mapping):
        raise InvalidInput(path, field=f"layout {released.layout}", seen=type(content).__name__, expected="named tensors")
    beside = _BESIDE[released.layout]
    found = {
        name.removeprefix(prefix): tensor
        for name, tensor in content.items()
        if isinstance(name, str) and name.startswith(prefix) and not name.removeprefix(prefix).startswith(beside)
    }
    _fit(path, found, network)


def _fit(path: Path, found: Mapping[str, Any], network: nn.Module) -> None:
    expected = network.state_dict()
    fits = {name for name, tensor in expected.items() if name in found and _alike(found[name], tensor)}
    missing, extra = sorted(set(expected) - fits), sorted(set(found) - set(expected))
    if missing or extra:
        seen = (
            f"{len(fits)} of {len(expected)} tensors; missing or of another shape {missing[:3]}, "
            f"unknown {extra[:3]}{' and more' if len(extra) > 3 else ''}"
        )
        raise InvalidInput(path, field="backbone", seen=seen, expected="exactly the tensors of the architecture")
    network.load_state_dict(dict(found), strict=True)


def _alike(found: Any, tensor: Tensor) -> bool:
    kinds = isinstance(found, Tensor) and found.is_floating_point() == tensor.is_floating_point()
    return kinds and found.shape == tensor.shape


def _read(path: Path, raw: bytes) -> Any:
    """What the file holds, from the very bytes whose hash was compared."""
    try:
        if path.suffix == ".safetensors":
            return load_safetensors(raw)
        # What training scripts leave beside the weights: their arguments, a class that has no code of its own.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except _BROKEN as error:
        raise InvalidInput(
            path,
            field="file",
            seen=_reason(error),
            expected="a whole file that holds only tensors",
            next_step="check it against its authors' SHA-256; code in a file is never run, so of one that holds more than "
            "tensors save the tensors alone",
        ) from error


def _reason(error: BaseException) -> str:
    """The line that says what is wrong: torch's own first line advises to run what the file says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "GLOBAL" in line or "WeightsUnpickler error" in line]
    return f"{type(error).__name__}: {(named or lines or [''])[0]}"[:300]
