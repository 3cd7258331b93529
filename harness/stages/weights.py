"""Weights: a model's checkpoint, pre-trained here, released by its authors, or random; or embeddings in its place."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import Provenance
from harness.artifacts.tables import CURVE, EMBEDDINGS
from harness.data import images
from harness.models import checkpoint, embeddings, released
from harness.models.build import build, normaliser
from harness.models.layers import CONVOLUTIONAL
from harness.params.images import ReaderData, ScenesData
from harness.params.models import Embeddings, Released
from harness.params.recipes import RandomRecipe, Recipe
from harness.stages.place import Place, resolved
from harness.training.engine import pretrain
from harness.training.processes import first

LIBRARIES = ("torch", "timm", "lightly", "kornia", "numpy", "scikit-learn")


def run(place: Place, model: str, *, scratch: Path = Path(".scratch"), until: int | None = None, device: str = "cpu") -> None:
    """Make checkpoints/<model> and curves/<model>; an interrupted training is resumed from its state in .scratch.

    until: stop after so many epochs and write the curve alone, to compare it with that of a whole run.
    The processes of a launcher share a pre-training, `torchrun --nproc-per-node 8 -m harness weights ...`.
    """
    weights = place.params.weights(model, place.profile)
    if isinstance(weights, Embeddings):
        provenance = place.provenance(__name__, [weights])
        store.write_arrays(place.path("checkpoints", model), EMBEDDINGS, embeddings.read(weights), provenance)
        _write_curve(place, model, [], provenance)
        return
    architecture = place.params.architecture(model, place.profile)
    parameters: list[object] = [architecture, weights]
    code: tuple[str, ...] = ()
    curve: list[dict[str, float]] = []
    if isinstance(weights, Released):
        network = build(architecture.name, **architecture.options)
        released.load(weights, network)
    elif isinstance(weights, RandomRecipe):
        network = build(architecture.name, seed=weights.seed, positions=weights.positions, **architecture.options)
    else:
        parameters.append(place.settings.data)
        code = (f"harness.training.{weights.objective}",)
        module = importlib.import_module(code[0])
        network = build(architecture.name, seed=weights.seed, **architecture.options)
        if isinstance(network, CONVOLUTIONAL):
            # On a CPU a ResNet takes half the time with channels innermost in memory.
            network = network.to(memory_format=torch.channels_last)
        else:
            network = build(architecture.name, seed=weights.seed, positions=module.POSITIONS, **architecture.options)
        data = place.settings.data
        objective = module.OBJECTIVE(network, weights, data.size, normaliser(data.mean, data.std))
        curve = _train(data, objective, weights, scratch / resolved(parameters)[:16], until, device)
        network = objective.backbone()
        if not first():
            return
    if until is not None:
        _write_curve(place, model, curve, place.provenance(__name__, parameters, code=code, libraries=LIBRARIES))
        return
    provenance = place.provenance(__name__, parameters, code=code, libraries=LIBRARIES)
    checkpoint.save(place.path("checkpoints", model), network, provenance, place.precision(model))
    _write_curve(place, model, curve, provenance)


def _write_curve(place: Place, model: str, curve: list[dict[str, float]], provenance: Provenance) -> None:
    rows = pd.DataFrame(curve, columns=list(CURVE.columns)).astype({name: c.dtype for name, c in CURVE.columns.items()})
    store.write_table(place.path("curves", model, ending=".json"), CURVE, rows, provenance)


def _train(
    data: ScenesData | ReaderData, objective: nn.Module, recipe: Recipe, scratch: Path, until: int | None, device: str
) -> list[dict[str, float]]:
    if not isinstance(data, ScenesData):
        expected = "released weights, or kind: scenes (training reads its images from memory)"
        raise InvalidInput("params.yaml", field="weights", seen="a recipe on a reader's images", expected=expected)
    source = images.load(data, "train", data.train, 0)
    pixels = torch.from_numpy(source.read(np.arange(len(source)))).permute(0, 3, 1, 2).contiguous()
    return pretrain(
        objective, recipe, pixels, torch.from_numpy(source.label), scratch, monitor_every=2, until=until, device=device
    )
