"""Generate: train one diffusion model of images that is conditioned on the features of all sampled, frozen models."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import LOSS
from harness.data import images
from harness.data.targets import targets_of
from harness.models import checkpoint
from harness.stages.finals import final_features
from harness.stages.place import Place, resolved
from harness.training.diffusion import KEPT_EVERY, Generator, train

LIBRARIES = ("torch", "timm", "diffusers", "numpy")


def run(place: Place, token: str, *, scratch: Path = Path(".scratch"), until: int | None = None, device: str = "cpu") -> None:
    """Make generator/<token>, the weights after training on the features of the profile's `sampled` models, by name, and
    losses/<token>.

    token: the one after the final norm, cls or gap, whose features are the condition. until: stop after so many steps and
    write the losses alone, to compare them with those of a whole run. An interrupted training is resumed from its state in
    .scratch.
    Raises InvalidInput for a profile without generation, and for scenes of several objects.
    """
    settings, data, sampled = place.settings.generation, place.settings.data, sorted(place.settings.sampled)
    if settings is None or not sampled:
        field = f"profiles.{place.profile}.generation"
        expected = "parameters of a diffusion model of images, and sampled, its models"
        raise InvalidInput("params.yaml", field=field, seen="none", expected=expected)
    targets = targets_of(data, settings.side, place.settings.extract.seed)
    vectors = torch.from_numpy(targets.vectors("train", np.arange(settings.images)))
    source = images.load(data, "train", settings.images, place.settings.extract.seed)
    features, known = [], {}
    for model in tqdm(sampled, desc="features", unit="model", disable=not sys.stderr.isatty()):
        of_model, known[f"checkpoints/{model}"] = final_features(place, model, source, token, device=device)
        features.append(torch.from_numpy(of_model))
    torch.manual_seed(settings.seed)
    shares = torch.from_numpy(targets.shares(vectors.shape[1]))
    generator = Generator([part.shape[1] for part in features], settings, shares)
    state = scratch / resolved([token, data, settings, known])[:16]
    loss = train(generator, vectors, features, settings, state, until=until, device=device)
    provenance = place.provenance(__name__, [token, data, settings], inputs=known, libraries=LIBRARIES)
    steps = [min(KEPT_EVERY * (i + 1), settings.steps) for i in range(len(loss))]
    rows = pd.DataFrame({"step": np.array(steps, np.int64), "loss": np.array(loss, np.float64)})
    store.write_table(place.path("losses", token, ending=".json"), LOSS, rows, provenance)
    if until is None:
        checkpoint.save(place.path("generator", token), generator, provenance)
