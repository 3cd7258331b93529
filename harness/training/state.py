"""The state of an unfinished training, which is kept so that a resumed training ends as an uninterrupted one."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from harness.artifacts import files
from harness.artifacts.errors import InvalidInput


def save(folder: Path, parts: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Replace <folder>/state.pt by the states of the parts, the values, and those of torch's random generators.

    parts: modules, optimisers and whatever else has a state_dict. values: numbers, lists and tensors. Raises BadEnvironment.
    """
    whole = io.BytesIO()
    states = {name: part.state_dict() for name, part in parts.items()}
    generators = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ())]
    torch.save({"parts": states, "values": dict(values), "generators": generators}, whole)
    files.write_bytes(folder / "state.pt", whole.getvalue())


def restore(folder: Path, parts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Load the state that `save` kept into the parts and the random generators, and return its values; None without a state.

    Raises InvalidInput for a file that is not whole, and for the state of other parts.
    """
    path = folder / "state.pt"
    if not path.exists():
        return None
    step = "delete it; the training then starts anew"
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise InvalidInput(path, field="state", seen=error, expected="the state of a training", next_step=step) from error
    for name, part in parts.items():
        try:
            part.load_state_dict(kept["parts"][name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InvalidInput(path, field=name, seen=error, expected="the state of this training", next_step=step) from error
    torch.set_rng_state(kept["generators"][0])
    if torch.cuda.is_available() and len(kept["generators"]) > 1:
        torch.cuda.set_rng_state_all(kept["generators"][1:])
    values: dict[str, Any] = kept["values"]
    return values
