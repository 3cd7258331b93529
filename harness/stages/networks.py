"""A model's network with the weights of its checkpoint."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from harness.artifacts.store import Arrays
from harness.models import checkpoint
from harness.models.build import build
from harness.stages.place import Place


def load_network(place: Place, model: str, root: Path = Path()) -> tuple[nn.Module, Arrays]:
    """The network, and the checkpoint as it was read. root: the project's folder.

    Raises InvalidInput for an unknown model and for embeddings, and as `checkpoint.load` does.
    """
    architecture = place.params.architecture(model, place.profile)
    network = build(architecture.name, **architecture.options)
    return network, checkpoint.load(root / place.path("checkpoints", model), network, place.precision(model))
