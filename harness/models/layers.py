"""The layers of a network by name and type, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from timm.models import ConvNeXt, ResNet
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import TYPES

# They pass maps from block to block, and have no tokens.
CONVOLUTIONAL = (ResNet, ConvNeXt)


def named_layers(network: nn.Module) -> dict[str, nn.Module]:
    """ "<block>.<type>" to module: all seven types of every block of a ViT, 84 layers for ViT-B; of a ResNet or a ConvNeXt each
    block's output.

    Raises InvalidInput when the network has no blocks or a block lacks one of the types.
    """
    if isinstance(network, ResNet):
        stages = (network.layer1, network.layer2, network.layer3, network.layer4)
        return _outputs(block for stage in stages for block in stage)
    if isinstance(network, ConvNeXt):
        return _outputs(block for stage in network.stages for block in stage.blocks)
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList):
        expected = "a timm ViT with .blocks, a ResNet or a ConvNeXt"
        raise InvalidInput("layers", field="network", seen=type(network).__name__, expected=expected)
    found: dict[str, nn.Module] = {}
    for i, block in enumerate(blocks):
        inside = dict(block.named_modules())
        for kind in TYPES:
            module = block if kind == "block" else inside.get(kind)
            if module is None:
                raise InvalidInput("layers", field=f"block {i}", seen=sorted(inside)[:20], expected=f"a module {kind}")
            found[f"{i}.{kind}"] = module
    return found


def _outputs(blocks: Iterable[nn.Module]) -> dict[str, nn.Module]:
    return {f"{i}.block": block for i, block in enumerate(blocks)}


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
