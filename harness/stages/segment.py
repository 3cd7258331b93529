"""Segment: how much of objects' masks a linear read-out finds in a model's patch tokens, after each block."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import digest
from harness.artifacts.tables import SEGMENT
from harness.data import scenes, sprites
from harness.data.images import hashes
from harness.data.scenes import Scenes
from harness.maths.overlap import overlaps, terciles
from harness.models.build import normaliser
from harness.models.tokens import block_tokens, depth_of, patch_side
from harness.params.images import ScenesData
from harness.stages.networks import load_network
from harness.stages.place import Place
from harness.training.segmentation import fit

LIBRARIES = ("torch", "timm", "numpy")
# Images in one forward of the frozen network.
FORWARD = 250


def run(place: Place, model: str, *, device: str = "cpu") -> None:
    """Make segment/<model>: intersection and union of predicted and true masks, after each block, image by image.

    The scenes are those of detection: several objects on a larger canvas. Each block's tokens go through the final norm.
    Raises InvalidInput for a profile without segmentation, and for a network without patch tokens.
    """
    chosen, detection, data = place.settings.segmentation, place.settings.detection, place.settings.data
    if chosen is None or detection is None or detection.world is None or not isinstance(data, ScenesData):
        seen, expected = "none", "segmentation beside detection, on composed scenes"
        raise InvalidInput("params.yaml", field=f"profiles.{place.profile}.segmentation", seen=seen, expected=expected)
    architecture = place.params.architecture(model, place.profile)
    network, weights = load_network(place, model)
    blocks = range(depth_of(network))
    normalise, side = normaliser(data.mean, data.std).to(device), patch_side(network)
    source = sprites.load(data.sprites, "train", None), sprites.load(data.sprites, "validation", None)
    train, validation = (
        scenes.compose(own, detection.world, split, np.arange(count))
        for own, split, count in zip(source, ("train", "validation"), (chosen.train, chosen.validation), strict=True)
    )
    edges = terciles(validation.owner)
    tokens_of = (_tokens(network, normalise, made, blocks, device) for made in (train, validation))
    inside = _patches(torch.from_numpy(train.owner >= 0), side)
    rows = []
    for tokens, others in tqdm(zip(*tokens_of, strict=True), desc=model, unit="block", disable=not sys.stderr.isatty()):
        read_out = fit(tokens.flatten(0, 1), inside.flatten(0, 1).float(), penalty=chosen.penalty)
        found = _image(read_out.logits(others) > 0, side)
        rows.append(overlaps(found.numpy(), validation.owner, edges))
    provenance = place.provenance(
        __name__,
        [architecture, data, detection.world, chosen],
        images=digest(hashes(validation.image).tolist()),
        weights=weights.sha256,
        inputs={f"checkpoints/{model}": weights.sha256},
        libraries=LIBRARIES,
    )
    counts = np.stack(rows).astype(np.int16)
    arrays = {"intersection": counts[:, :, 0], "union": counts[:, :, 1], "edges": np.array(edges)}
    store.write_arrays(place.path("segment", model), SEGMENT, arrays, provenance)


@torch.inference_mode()
def _tokens(network: nn.Module, normalise: nn.Module, made: Scenes, blocks: range, device: str) -> Iterator[Tensor]:
    """Block by block, patch tokens (n, patches, width) of all scenes after the network's final norm."""
    parts = zip(*block_tokens(network, normalise, made.image, blocks, batch=FORWARD, device=device), strict=True)
    yield from (torch.cat(of_block).flatten(2).mT.cpu() for of_block in parts)


def _patches(image: Tensor, side: int) -> Tensor:
    """(n, s, s) to (n, patches, side squared), patches in the order of a network's tokens."""
    n, s, _ = image.shape
    across = s // side
    return image.reshape(n, across, side, across, side).permute(0, 1, 3, 2, 4).reshape(n, across**2, side**2)


def _image(patches: Tensor, side: int) -> Tensor:
    """What `_patches` made of an image, (n, s, s) again."""
    n, count, _ = patches.shape
    across = round(count**0.5)
    return patches.reshape(n, across, across, side, side).permute(0, 1, 3, 2, 4).reshape(n, across * side, across * side)
