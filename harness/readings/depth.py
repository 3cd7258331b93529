"""Networks of any depth in claims about twelve blocks: a block is read at the same relative depth.

Embeddings have no blocks.
"""

from __future__ import annotations

from pathlib import Path

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.layout import types_of
from harness.artifacts.store import Arrays
from harness.artifacts.tables import unpack
from harness.evidence.resampling import BLOCKS

# Below that, blocks that a claim tells apart would be one and the same.
FEWEST = len(BLOCKS) // 2


def at_depth(blocks: int) -> list[int]:
    """Which of a network's blocks stand for each of twelve: the nearest at the same share of its depth, first and last kept.

    Raises InvalidInput for a network of fewer than six blocks.
    """
    if blocks < FEWEST:
        step = "claims by depth need a deeper network"
        raise InvalidInput("depth", field="blocks", seen=blocks, expected=f"at least {FEWEST}", next_step=step)
    return [round(i * (blocks - 1) / (len(BLOCKS) - 1)) for i in range(len(BLOCKS))]


def blocks_of(arrays: Arrays) -> tuple[int, ...]:
    """How many blocks the models of a CKA, similarity, k-NN or probe artifact have, in its order; none where it has no depth.

    Raises InvalidInput when layers are not those of whole blocks.
    """
    values = arrays.values
    if "layers_a" in values:
        named = [unpack(arrays[field]) for field in ("layers_a", "layers_b")]
        return tuple(len(layers) // len(types_of(layers)) for layers in named)
    if "each" in values:
        return arrays["each"].shape[2:]
    if "vote" in values:
        blocks = arrays["vote"].shape[1] - 1
    else:
        blocks = len(pairs_of(unpack(arrays["sets"]))) if "sets" in values else 0
    return (blocks,) if blocks else ()


def without_blocks(where: Path | str) -> MissingArtifact:
    """The error for a block of embeddings, which have none."""
    step = "give weights that run in a network, or let this be missing"
    return MissingArtifact(where, "embeddings are a network's output, and have no blocks", next_step=step)


def pairs_of(sets: list[str]) -> list[str]:
    """Of the feature sets of a probe, those that join the final layer with one block's, in the blocks' order."""
    found = [name for name in sets if name.startswith("final+")]
    return sorted(found, key=lambda name: int(name.removeprefix("final+")))
