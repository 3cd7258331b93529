"""Cost: an estimate of the time, disk and memory that a profile takes, from its sizes and a rate measured here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from harness.artifacts.errors import MissingArtifact
from harness.artifacts.layout import Layout
from harness.artifacts.tables import BANK
from harness.data.annotated import AnnotatedImages
from harness.data.changes import changes_of
from harness.data.coco import Annotations, Instances, encode
from harness.data.images import Images, load
from harness.data.targets import targets_of
from harness.models.build import build, normaliser
from harness.models.denoiser import CONDITION
from harness.models.layers import named_layers
from harness.models.represent import represent
from harness.models.tokens import LAYERS
from harness.params.models import Released, start_of
from harness.params.profile import END_TO_END, DetectionParams, Profile
from harness.params.recipes import Recipe
from harness.stages.detect import prepare
from harness.stages.extract import bank_shapes
from harness.stages.place import Place
from harness.stages.probe import feature_sets
from harness.training.detector import train
from harness.training.probes import grid

# Seconds: a network that takes longer for one image is measured by that.
SLOW = 0.2


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
    """How many images go through networks: for one model's bank, of which `grams` with the Grams of all layers, its probes'
    views, and the changed images of its invariance; and for the sweep of two models.
    """

    bank: int
    grams: int
    views: int
    changed: int
    sweep: int


def run(place: Place, *, device: str = "cpu", say: Callable[[str], None] = print) -> None:
    """Print the forwards and their time, the disk, the memory and the matrix products that the profile's models take.

    Pre-training is not included: its length depends on the recipe. Rates are those of each architecture on random pixels.
    """
    settings = place.settings
    # Embeddings go through no network, and what else is made of them is little.
    models = {name: kind for name in place.params.at(place.profile) if (kind := place.params.model(name).architecture)}
    each = forwards(settings)
    rates = {}
    for name in sorted(set(models.values())):
        network = build(settings.architectures[name].name, **settings.architectures[name].options)
        rates[name] = rate(settings, network, device)
    total = len(models) * (each.bank + each.views + each.changed) + each.sweep
    seconds, disk = each.sweep / min(one.with_grams for one in rates.values()), 0
    for one in (rates[name] for name in models.values()):
        seconds += (each.bank - each.grams + each.views + each.changed) / one.plain + each.grams / one.with_grams
        disk += bank_bytes(settings, one.layers, one.layout)
    layouts = [rates[name].layout for name in models.values()]
    speed = products_per_second(device)
    shown = ", ".join(f"{name} {one.plain:.1f} images/s" for name, one in rates.items())
    say(f"{place.profile}: {len(models)} models, {total:,} forwards, {_duration(seconds)} on {device} ({shown})")
    say(f"disk: {disk / 1e9:.1f} GB of features and Grams, under artifacts/{place.profile}/banks")
    say(f"memory: up to {max(probe_memory(settings, one) for one in layouts) / 1e9:.1f} GB, of the features that probes read")
    near = _duration(sum(knn_operations(settings, one) for one in layouts) / speed)
    try:
        classes = load(settings.data, "train", 1, settings.extract.seed).classes
    except MissingArtifact:
        probes = "probes by the classes, once data.root has them"
    else:
        probes = f"probes {_duration(sum(probe_operations(settings, one, classes) for one in layouts) / speed)}"
    say(f"products: k-NN {near}, {probes}, at least, at {speed / 1e12:.2g} TFLOP/s")
    for line in (*detection(place, device), *generation(place, device)):
        say(line)
    weights = [place.params.weights(model, place.profile) for model in models]
    recipes = [model for model, one in zip(models, weights, strict=True) if isinstance(one, Recipe) or model != start_of(model)]
    missing = [str(one.path) for one in weights if isinstance(one, Released) and not one.path.is_file()]
    if recipes:
        say(f"beside that, training of {', '.join(recipes)} where it is not done")
    if missing:
        say(f"to fetch first: {', '.join(missing)}")


def detection(place: Place, device: str) -> Iterator[str]:
    """How long the profile's detectors take to train, by kind, at the rate measured here; nothing without detectors."""
    profile, settings = place.settings, place.settings.detection
    for layers in (*LAYERS, END_TO_END):
        models = profile.detected_with(layers)
        if not models or settings is None:
            continue
        architecture = place.params.architecture(models[0], place.profile)
        network = build(architecture.name, **architecture.options)
        one = detector_seconds(settings, network, layers, device)
        seen = settings.train * settings.epochs
        took = _duration(len(models) * seen * one)
        yield f"detection, {layers}: {len(models)} x {seen:,} images through a detector, {took}, at {1 / one:.1f} images/s"


def detector_seconds(settings: DetectionParams, network: nn.Module, layers: str, device: str) -> float:
    """Seconds that an image takes in the training of a detector: with the network's forward where features are not kept in
    memory, and its backward where it is trained. Measured on a batch of blank images with an object each.
    """
    side, n = settings.side, min(settings.batch, 16)
    mask = np.zeros((side, side), bool)
    mask[side // 4 : side // 2, side // 4 : side // 2] = True
    corner = np.array([[side // 4, side // 4, side // 2 - side // 4, side // 2 - side // 4]], float)
    box = Instances(corner, (encode(mask),), np.zeros(1, int), np.full(1, float(mask.sum())), np.zeros(1, bool), np.ones(1))
    objects = Annotations(("blank",) * n, np.full((n, 2), side), (box,) * n, ("object",))
    images = AnnotatedImages(objects, lambda _: np.zeros((side, side, 3), np.uint8))
    normalise = normaliser((0.5,) * 3, (0.25,) * 3).to(device)
    timed = settings.model_copy(update={"epochs": 1, "batch": n, "warmup_steps": 0})
    setup = prepare(network, normalise, images, layers, timed, device, count=settings.train)
    return _warm(lambda: train(setup.features, images, setup.detector, 0, backbone=setup.backbone, device=device)) / n


def generation(place: Place, device: str) -> Iterator[str]:
    """How long the profile's diffusion models take to train, at the rate measured here; nothing without any."""
    settings, tokens = place.settings.generation, place.settings.generated
    if settings is None or not tokens:
        return
    # Profiles without one need none of it, and its import takes seconds.
    from harness.training.diffusion import Generator

    targets, side = targets_of(place.settings.data, settings.side, 0), settings.side
    size = targets.vectors("train", np.arange(1)).shape[1] if side is None else 3 * side**2
    # A photograph of 128 pixels takes a core half a minute.
    n = settings.batch if side is None else min(settings.batch, 2 if device == "cpu" else 16)
    generator = Generator([CONDITION], settings, torch.from_numpy(targets.shares(size))).to(device)
    blank, level, when = (torch.zeros(shape, device=device) for shape in ((n, size), (n,), (n,)))

    def step() -> None:
        told = generator.told([torch.zeros(n, CONDITION, device=device)], level)
        generator.error(blank, told, when.long(), blank).mean().backward()
        # Waits for the device.
        nn.utils.clip_grad_norm_(generator.parameters(), 1.0).item()

    took = _warm(step) / n
    seen = settings.steps * settings.batch
    total = _duration(len(tokens) * seen * took)
    yield f"generation: {len(tokens)} x {seen:,} images through a diffusion model, {total}, at {1 / took:.1f} images/s"


def _warm(work: Callable[[], object]) -> float:
    """Seconds that work takes the second time: the first warms up."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def forwards(settings: Profile) -> Forwards:
    """How many images the stages of a profile forward."""
    size, sweep = settings.extract, settings.sweep
    return Forwards(
        bank=size.bank + size.queries,
        grams=size.images,
        views=settings.probe.views * settings.probe.images,
        changed=len(changes_of(settings.data)) * size.images,
        sweep=2 * sweep.subsets * max(*sweep.images, *sweep.minibatches),
    )


def bank_bytes(settings: Profile, layers: int, layout: Layout) -> int:
    """Size of one model's bank on disk, in bytes."""
    shapes = bank_shapes(settings.extract, layers, layout)
    return sum(math.prod(shape) * np.dtype(BANK.columns[name].dtype).itemsize for name, shape in shapes.items())


def knn_operations(settings: Profile, layout: Layout) -> int:
    """Floating-point operations of the matrix products of one model's k-NN, without its logistic regression."""
    size = settings.extract
    return 2 * size.bank * size.queries * layout.columns


def probe_operations(settings: Profile, layout: Layout, classes: int) -> int:
    """Floating-point operations of the products by which one model's probes are trained, on the hold-out's rest and anew.

    Choosing and coding, which pass over fewer images, are not among them.
    """
    chosen, total = settings.probe, 0
    table = grid(chosen.rates, chosen.decays, chosen.l1, chosen.warmups, chosen.epochs)
    kept = chosen.images - round(chosen.holdout * chosen.images)
    # The best may be of any length: counted as the mean.
    epochs = sum(c.epochs for c in table)
    passes = _seen(kept, chosen.batch) * epochs + _seen(chosen.images, chosen.batch) * epochs * chosen.best // len(table)
    for one in feature_sets(layout, chosen.depths, chosen.projections):
        width = layout.widths[-1] if one.projection is not None else sum(layout.widths[depth] for depth in one.layers)
        # Forward, by the weights, and, where there is a block in front, by the input.
        blocks = (3 * (one.depth - 1) - 1) * width * width if one.depth > 1 else 0
        total += 2 * passes * (blocks + (3 if one.depth > 1 else 2) * width * classes)
    return total


def probe_memory(settings: Profile, layout: Layout) -> int:
    """Memory of one model's features while its probes are trained, in bytes: all in float16, the widest set in float32."""
    chosen, queries = settings.probe, settings.extract.queries
    width = max(sum(layout.widths[d] for d in one.layers) for one in feature_sets(layout, (), 0))
    whole = 2 * layout.columns * (chosen.images * (1 + chosen.views) + queries)
    return whole + 4 * width * (chosen.images * (1 + max(chosen.views, 1)) + queries)


def products_per_second(device: str, n: int = 2048) -> float:
    """Floating-point operations a second of one product of two (n, n) matrices, float32."""
    x = torch.ones(n, n, device=device)
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        # Waits for the device.
        (x @ x)[0, 0].item()
        taken.append(time.perf_counter() - start)
    return 2 * n**3 / min(taken)


def _seen(images: int, batch: int) -> int:
    """How many images an epoch of whole batches has."""
    return images // batch * batch


def rate(settings: Profile, network: nn.Module, device: str) -> Rate:
    """How fast images go through a network.

    Where a single image already takes long, it says so alone: such a network's rate hardly depends on how many go through at
    once, and Grams slow a ViT-B by two hundredths, less than two measurements of its rate differ by.
    """
    size, n = settings.data.size, settings.extract.batch
    pixels = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), np.uint8)
    normalise = normaliser(settings.data.mean, settings.data.std).to(device)

    def seconds(count: int, minibatch: int | None) -> tuple[float, Layout]:
        images = Images(np.zeros(count, np.int64), 1, lambda index: pixels[np.asarray(index)])
        start = time.perf_counter()
        (seen,) = represent(network, normalise, images, count, minibatch=minibatch, device=device)
        return time.perf_counter() - start, seen.layout

    # The first pass warms up.
    first, layout = seconds(1, None)
    if first > SLOW:
        # It begins with one more image, which shows whether the network can be measured.
        plain = with_grams = 2 / first
    else:
        sizes = (None, settings.extract.minibatch)
        plain, with_grams = (n / min(seconds(n, minibatch)[0] for _ in range(2)) for minibatch in sizes)
    return Rate(plain, with_grams, len(named_layers(network)) + 1, layout)


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
