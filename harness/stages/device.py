"""Where a stage computes."""

from __future__ import annotations

import os

from harness.artifacts.errors import BadEnvironment


def chosen_device() -> str:
    """HARNESS_DEVICE, else the CPU: an environment variable, since dvc would rerun a stage whose command changes.

    Of several GPUs, each process of a launch has its own.
    """
    name = os.environ.get("HARNESS_DEVICE", "cpu")
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name += f":{os.environ['LOCAL_RANK']}"
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise BadEnvironment(
            "HARNESS_DEVICE", seen=f"{name}: {str(error).splitlines()[0]}", expected="a device that is there"
        ) from error
    return name
