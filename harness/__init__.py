"""Measured claims about the representations of vision transformers. For a notebook: compare, load_network, read, judge."""

import importlib

_CALLS = {
    "compare": ("harness.notebook", "compare"),
    "load_network": ("harness.notebook", "load_network"),
    "read": ("harness.readings.readings", "read"),
    "judge": ("harness.stages.judge", "judge"),
}
__all__ = list(_CALLS)


def __getattr__(name: str) -> object:
    """A call, imported when it is first asked for: the command line must not wait for torch."""
    if name not in _CALLS:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    module, function = _CALLS[name]
    return getattr(importlib.import_module(module), function)
