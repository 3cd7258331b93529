"""Cost: what measuring a profile will take, from its sizes and a rate measured here, before anything starts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from harness.artifacts.layout import Layout
from harness.artifacts.params import Profile, Released
from harness.artifacts.recipes import Recipe
from harness.artifacts.tables import BANK
from harness.data.images import Images
from harness.models.build import build, normaliser
from harness.models.layers import named_layers
from harness.models.represent import represent
from harness.stages.extract import bank_shapes
from harness.stages.place import Place


@dataclass(frozen=True)
class Rate:
    """Images per second through a network, with its features alone and with the Grams of every layer; and what a bank keeps of
    each: layers, the pixels among them, and features.
    """

    plain: float
    with_grams: float
    layers: int
    layout: Layout


@dataclass(frozen=True)
class Forwards:
    """How many images go through networks: for one model's bank, of which `grams` with the Grams of all layers, and its
    probes' views; and for the sweep of two models.
    """

    bank: int
    grams: int
    views: int
    sweep: int


def run(place: Place, *, device: str = "cpu", say: Callable[[str], None] = print) -> None:
    """Print the forwards, the time and the disk that measuring the profile's models takes.

    Pre-training is not among it: its length is what a recipe says. Rates are those of each architecture on random pixels.
    """
    settings, models = place.settings, place.params.at(place.profile)
    each = forwards(settings)
    named = {place.params.models[model].architecture for model in models}
    rates = {}
    for name in sorted(named):
        network = build(settings.architectures[name].name, **settings.architectures[name].options)
        rates[name] = rate(settings, network, device)
    total = len(models) * (each.bank + each.views) + each.sweep
    seconds, disk = each.sweep / min(one.with_grams for one in rates.values()), 0
    for model in models:
        one = rates[place.params.models[model].architecture]
        seconds += (each.bank - each.grams + each.views) / one.plain + each.grams / one.with_grams
        disk += bank_bytes(settings, one.layers, one.layout)
    shown = ", ".join(f"{name} {one.plain:.1f} images/s" for name, one in rates.items())
    say(f"{place.profile}: {len(models)} models, {total:,} forwards, {_duration(seconds)} on {device} ({shown})")
    say(f"disk: {disk / 1e9:.1f} GB of features and Grams, under artifacts/{place.profile}/banks")
    weights = [place.params.weights(model, place.profile) for model in models]
    recipes = [model for model, one in zip(models, weights, strict=True) if isinstance(one, Recipe)]
    missing = [str(one.path) for one in weights if isinstance(one, Released) and not one.path.is_file()]
    if recipes:
        say(f"beside that, pre-training of {', '.join(recipes)} where it is not done")
    if missing:
        say(f"to fetch first: {', '.join(missing)}")


def forwards(settings: Profile) -> Forwards:
    """How many images the stages of a profile forward."""
    size, sweep = settings.extract, settings.sweep
    return Forwards(
        bank=size.bank + size.queries,
        grams=size.images,
        views=settings.probe.views * settings.probe.images,
        sweep=2 * sweep.subsets * max(*sweep.images, *sweep.minibatches),
    )


def bank_bytes(settings: Profile, layers: int, layout: Layout) -> int:
    """What the arrays of one model's bank take on the disk."""
    shapes = bank_shapes(settings.extract, layers, layout)
    return sum(math.prod(shape) * np.dtype(BANK.columns[name].dtype).itemsize for name, shape in shapes.items())


def rate(settings: Profile, network: nn.Module, device: str) -> Rate:
    """How fast images go through a network."""
    size, n = settings.data.size, settings.extract.batch
    pixels = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), np.uint8)
    images = Images(np.zeros(n, np.int64), 1, lambda index: pixels[np.asarray(index)])
    normalise = normaliser(settings.data.mean, settings.data.std).to(device)
    found = []
    for minibatch in (None, settings.extract.minibatch):
        taken = []
        for _ in range(2):
            start = time.perf_counter()
            (seen,) = represent(network, normalise, images, n, minibatch=minibatch, device=device)
            taken.append(time.perf_counter() - start)
        # The first one warms up.
        found.append(n / min(taken))
    return Rate(*found, len(named_layers(network)) + 1, seen.layout)


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
