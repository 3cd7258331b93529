"""The layers of a ViT by name and type, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import TYPES


def named_layers(network: nn.Module) -> dict[str, nn.Module]:
    """ "<block>.<type>" to module for all seven types of every block; 84 layers for ViT-B.

    Raises InvalidInput when the network has no blocks or a block lacks one of the types.
    """
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList):
        raise InvalidInput("layers", field="network", seen=type(network).__name__, expected="a timm ViT with .blocks")
    found: dict[str, nn.Module] = {}
    for i, block in enumerate(blocks):
        inside = dict(block.named_modules())
        for kind in TYPES:
            module = block if kind == "block" else inside.get(kind)
            if module is None:
                raise InvalidInput("layers", field=f"block {i}", seen=sorted(inside)[:20], expected=f"a module {kind}")
            found[f"{i}.{kind}"] = module
    return found


@contextmanager
def tapped(layers: dict[str, nn.Module], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """While the context is open, every forward hands each layer's output to `see` and keeps nothing."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _module, _inputs, output: see(name, output)

    handles = [module.register_forward_hook(hook(name)) for name, module in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
