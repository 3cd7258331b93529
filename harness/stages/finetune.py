"""Finetune: train a model with labels, and keep its training curve and the paths of its parameters and features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.finetuning_tables import PATH, TRACE
from harness.artifacts.tables import CURVE
from harness.data import images
from harness.maths.path_efficiency import Steps
from harness.models import checkpoint
from harness.models.build import build, normaliser
from harness.params.images import ScenesData
from harness.params.models import FINETUNED
from harness.stages.place import Place, resolved
from harness.training.engine import pretrain
from harness.training.finetune import Finetune

LIBRARIES = ("torch", "timm", "torchvision", "numpy", "pillow")


def run(place: Place, model: str, *, scratch: Path = Path(".scratch"), until: int | None = None, device: str = "cpu") -> None:
    """Make checkpoints/<model>_ft, curves/<model>_ft, path/<model> and trace/<model>. An interrupted run is resumed from its
    state in .scratch.

    Raises InvalidInput for a model that the profile does not fine-tune, one whose pre-logits are not the CLS token, and for
    images that are not in memory.
    """
    settings = place.settings
    recipe, data, architecture = settings.finetune, settings.data, place.params.architecture(model, place.profile)
    if recipe is None or model not in settings.finetuned:
        expected = f"one of profiles.{place.profile}.finetuned: {', '.join(settings.finetuned) or 'none'}"
        raise InvalidInput("params.yaml", field="finetuned", seen=model, expected=expected)
    if not isinstance(data, ScenesData):
        expected = "kind: scenes (training reads its images from memory)"
        raise InvalidInput("params.yaml", field="finetuned", seen="a reader's images", expected=expected)
    network = build(architecture.name, **architecture.options, drop_path_rate=recipe.drop_path)
    refuse_pooled(network, model)
    start = checkpoint.load(place.path("checkpoints", model), network, place.precision(model))
    source = images.load(data, "train", data.train, 0)
    seen = images.load(data, "validation", recipe.watched, 0).read(np.arange(recipe.watched))
    pixels, watched = (
        torch.from_numpy(one).permute(0, 3, 1, 2).contiguous() for one in (source.read(np.arange(len(source))), seen)
    )
    colours = (data.mean, data.std)
    objective = Finetune(network, recipe, source.classes, data.size, *colours, normaliser(*colours), watched)
    parameters = [architecture, data, recipe]
    state = scratch / resolved([*parameters, start.sha256])[:16]
    labels = torch.from_numpy(source.label)
    curve = pretrain(
        objective, recipe, pixels, labels, state, monitor_every=1, layer_decay=recipe.layer_decay, until=until, device=device
    )
    provenance = place.provenance(
        __name__,
        parameters,
        weights=start.sha256,
        inputs={f"checkpoints/{model}": start.sha256},
        libraries=LIBRARIES,
    )
    rows = pd.DataFrame(curve, columns=list(CURVE.columns)).astype({name: c.dtype for name, c in CURVE.columns.items()})
    store.write_table(place.path("curves", model + FINETUNED, ending=".json"), CURVE, rows, provenance)
    if until is not None:
        return
    checkpoint.save(place.path("checkpoints", model + FINETUNED), network, provenance, place.precision(model))
    store.write_table(place.path("path", model, ending=".json"), PATH, path_rows(objective.paths), provenance)
    head = {"head_weight": objective.head.weight, "head_bias": objective.head.bias}
    trace = {"features": torch.stack(objective.trace)} | {name: value.detach().cpu() for name, value in head.items()}
    arrays = {name: value.numpy() for name, value in trace.items()} | {"image": images.hashes(seen)}
    store.write_arrays(place.path("trace", model), TRACE, arrays, provenance)


def refuse_pooled(network: nn.Module, model: str) -> None:
    """Raise InvalidInput for a network whose pre-logits are not the CLS token, which is what the claims are about."""
    pooled = getattr(network, "global_pool", None)
    if getattr(network, "cls_token", None) is None or pooled != "token":
        seen = f"{type(network).__name__} with {pooled if isinstance(pooled, str) else 'maps'} pooled"
        expected = "a vision transformer that hands on its CLS token (global_pool: token)"
        raise InvalidInput("params.yaml", field=f"finetuned: {model}", seen=seen, expected=expected)


def path_rows(paths: dict[int, Steps]) -> pd.DataFrame:
    """The rows of a path, by epochs between snapshots, block and kind. Raises InvalidInput for weights that never moved."""
    rows = [
        (every, block, kind, path.net, path.length, path.start, path.steps)
        for every, steps in paths.items()
        for (block, kind), path in sorted(steps.paths().items())
    ]
    return pd.DataFrame(rows, columns=list(PATH.columns))
