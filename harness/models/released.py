"""Released weights: compared with their SHA-256, read without executing code, loaded whole or not at all."""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.models import lock
from harness.params.models import Released

# Where a layout keeps the backbone: the dictionary's key and the prefix of the backbone's names in it.
_WHERE = {
    "plain": ((), ""),
    "mae": (("model",), ""),
    "moco_v3": (("state_dict",), "module.base_encoder."),
    "dino": ((), ""),
    "msn": (("target_encoder",), "module."),
}
# What files hold beside a backbone: heads, decoders and mask tokens of pre-training.
_BESIDE = ("head.", "fc.", "decoder", "mask_token")
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
    a tensor of the network, has one of another shape or one more. The network is then as it was, and the message says where
    else in the file the backbone lies. Heads, decoders and mask tokens are left out and told. Nothing in the file is executed.
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
    keys, prefix = released.key or keys, released.prefix or prefix
    try:
        named = _inside(path, content, keys, released)
        found = {
            name.removeprefix(prefix): tensor
            for name, tensor in named.items()
            if isinstance(name, str) and name.startswith(prefix)
        }
        left_out = _fit(path, found, network)
    except InvalidInput as error:
        next_step = suggest(content, network, (tuple(keys), prefix)) or error.next_step
        raise InvalidInput(path, field=error.field, seen=error.seen, expected=error.expected, next_step=next_step) from None
    if left_out:
        print(f"{path}: left out, as no part of the backbone: {', '.join(left_out)}", file=sys.stderr)


def _inside(path: Path, content: Any, keys: Sequence[str], released: Released) -> Mapping[Any, Any]:
    what = f"key {'.'.join(released.key)}" if released.key else f"layout {released.layout}"
    for key in keys:
        if not isinstance(content, Mapping) or key not in content:
            held = sorted(map(str, content))[:10] if isinstance(content, Mapping) else type(content).__name__
            raise InvalidInput(path, field=what, seen=held, expected=f"a dictionary with {key!r}")
        content = content[key]
    if not isinstance(content, Mapping):
        raise InvalidInput(path, field=what, seen=type(content).__name__, expected="named tensors")
    return content


def _fit(path: Path, found: Mapping[str, Any], network: nn.Module) -> list[str]:
    """Load the tensors; return what was left out."""
    expected = network.state_dict()
    fits = {name for name, tensor in expected.items() if name in found and _alike(found[name], tensor)}
    missing, unknown = sorted(set(expected) - fits), sorted(set(found) - set(expected))
    extra = [name for name in unknown if not name.startswith((*_BESIDE, *_classifiers(network)))]
    if missing or extra:
        seen = (
            f"{len(fits)} of {len(expected)} tensors; missing or of another shape {missing[:3]}, "
            f"unknown {extra[:3]}{' and more' if len(extra) > 3 else ''}"
        )
        raise InvalidInput(path, field="backbone", seen=seen, expected="exactly the tensors of the architecture")
    network.load_state_dict({name: found[name] for name in expected}, strict=True)
    return _by_module(unknown)


def _classifiers(network: nn.Module) -> tuple[str, ...]:
    """Prefixes of the classifier's tensors, by timm's name for it: head. of a ViT, fc. of a ResNet, head.fc. of a ConvNeXt."""
    told = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    return tuple(f"{name}." for name in ([told] if isinstance(told, str) else told))


def _by_module(names: Sequence[str]) -> list[str]:
    """Tensors by name, those of a module of more than two by the module's."""
    modules: dict[str, list[str]] = {}
    for name in names:
        modules.setdefault(name.partition(".")[0], []).append(name)
    return [told for module, held in modules.items() for told in (held if len(held) < 3 else [f"{module}.*"])]


def suggest(content: Any, network: nn.Module, tried: tuple[tuple[str, ...], str]) -> str | None:
    """Where else in the file the whole backbone lies, as what params.yaml must say; None where it lies nowhere else.

    All places are told, since a student and a teacher, or a model and its moving average, are different networks.
    """
    expected = network.state_dict()
    places = []
    for keys, named in _dictionaries(content):
        first = next(iter(expected))
        prefixes = {name.removesuffix(first) for name in named if isinstance(name, str) and name.endswith(first)}
        for prefix in sorted(prefixes):
            whole = all(prefix + name in named and _alike(named[prefix + name], tensor) for name, tensor in expected.items())
            if whole and (keys, prefix) != tried:
                places.append(f"{'.'.join((*keys, prefix))}* fits {len(expected)} of {len(expected)}: {_say(keys, prefix)}")
    if not places:
        return None
    return ("set " if len(places) == 1 else "choose one of these networks: ") + "; ".join(places)


def _say(keys: tuple[str, ...], prefix: str) -> str:
    for layout, (where, start) in _WHERE.items():
        if (where, start) == (keys, prefix) and layout != "dino":
            return f"layout: {layout}"
    parts = [f"key: {keys[0] if len(keys) == 1 else list(keys)}"] if keys else []
    return ", ".join(parts + ([f"prefix: {prefix}"] if prefix else []))


def _dictionaries(content: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """The file's dictionary and those in it, three deep."""
    if not isinstance(content, Mapping):
        return
    yield keys, content
    if len(keys) < 3:
        for key, value in content.items():
            if isinstance(key, str):
                yield from _dictionaries(value, (*keys, key))


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
