"""Detect: a Mask R-CNN on a model's frozen patch tokens, and its average precision with all that resamples it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.provenance import digest
from harness.artifacts.tables import BANDS, DETECT, END_TO_END, STATISTICS, TASKS, pack
from harness.data import coco, scenes, sprites
from harness.data.coco import Annotations, Instances
from harness.data.images import hashes
from harness.evidence.resampling import DRAWS, FloatArray, resample_weights
from harness.maths.average_precision import IOUS, Matches, average_precision
from harness.models import checkpoint
from harness.models.build import build, normaliser
from harness.models.detections import matches
from harness.models.tokens import LAYERS, depth_of, patch_side, patch_tokens
from harness.params.images import ScenesData
from harness.params.profile import DetectionParams
from harness.params.wording import nearest
from harness.stages.place import Place
from harness.training.detector import Backbone, Detector, detect, train

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "faster-coco-eval")
# COCO's bands of area are fixed in pixels; scenes are divided at the terciles of their own objects' areas.
LARGEST = 1e10
# Images whose detections are kept to be shown, and the least score of these.
PICTURES, SHOWN = 6, 0.5
# Images in one forward of the frozen network.
FORWARD = 256


def run(place: Place, model: str, layers: str, *, device: str = "cpu") -> None:
    """Make detect/<layers>/<model>: AP of boxes and masks on all validation scenes, in each bootstrap draw of them, and without
    each; and the matches that they are made of.

    layers: which blocks of the frozen network the detector reads, or end-to-end: the last one of a network that is trained with
    it. Raises InvalidInput for a profile without detection, other layers, and a network without patch tokens.
    """
    settings, data = place.settings.detection, place.settings.data
    if settings is None or not isinstance(data, ScenesData):
        seen, expected = "none", "parameters of a detector on composed scenes"
        raise InvalidInput("params.yaml", field=f"profiles.{place.profile}.detection", seen=seen, expected=expected)
    if layers not in (*LAYERS, END_TO_END):
        raise InvalidInput("command line", field="--layers", seen=layers, expected=nearest(layers, [*LAYERS, END_TO_END]))
    trained = settings.end_to_end if layers == END_TO_END else None
    if layers == END_TO_END and trained is None:
        field, expected = f"profiles.{place.profile}.detection.end_to_end", "how the backbone is trained"
        raise InvalidInput("params.yaml", field=field, seen="none", expected=expected)
    architecture = place.params.architecture(model, place.profile)
    options = architecture.options | ({} if trained is None else {"drop_path_rate": trained.drop_path})
    network = build(architecture.name, **options)
    weights = checkpoint.load(place.path("checkpoints", model), network, place.precision(model))
    depth_of(network)  # Refuses a network without patch tokens before anything is composed.
    normalise = normaliser(data.mean, data.std).to(device)
    (train_pixels, train_objects), (pixels, objects) = (
        _scenes(data, settings, split, count)
        for split, count in (("train", settings.train), ("validation", settings.validation))
    )
    classes = len(train_objects.categories)
    torch.manual_seed(settings.seed)
    read = "final" if trained else layers
    width, side = network.embed_dim * len(LAYERS[read]), patch_side(network)
    detector = Detector(width, side, settings.world.size, classes, settings)
    if trained is None:
        tokens = patch_tokens(network, normalise, train_pixels, read, batch=FORWARD, device=device)
        loss = train(tokens, train_objects.instances, detector, settings.seed, device=device)
    else:
        backbone, images = Backbone(network, normalise, trained), torch.from_numpy(train_pixels)
        loss = train(images, train_objects.instances, detector, settings.seed, backbone=backbone, device=device)
    validation = patch_tokens(network, normalise, pixels, read, batch=FORWARD, device=device)
    found = detect(detector, validation, device=device)
    bands = bands_of(objects)
    made = {task: matches(objects.instances, found, classes, bands, task) for task in TASKS}
    provenance = place.provenance(
        __name__,
        [architecture, data, settings, layers],
        images=digest(hashes(pixels).tolist()),
        weights=weights.sha256,
        inputs={f"checkpoints/{model}": weights.sha256},
        libraries=LIBRARIES,
    )
    arrays = {"ap": np.stack([resampled(made[task]) for task in TASKS]).astype(np.float32), "edges": bands[1:3, 1]}
    arrays |= {"loss": np.array(loss, np.float32)} | records(made) | pictures(pixels, found, objects.categories)
    store.write_arrays(place.path("detect", layers, model), DETECT, arrays, provenance)


def bands_of(objects: Annotations) -> FloatArray:
    """(4, 2): least and largest area of all objects and of small, medium and large ones, divided at the terciles."""
    low, high = np.quantile(objects.areas(), [1 / 3, 2 / 3])
    return np.array([(0.0, LARGEST), (0.0, low), (low, high), (high, LARGEST)])


def resampled(made: list[Matches]) -> FloatArray:
    """(statistic, 1 + draws + image): AP on all images, in each bootstrap draw of them, and without each image.

    As COCO has it, the mean over the categories that have objects there. Raises InvalidInput where none has.
    """
    n = made[0].objects.shape[1]
    weights = resample_weights(n, DRAWS)
    rows: dict[str, FloatArray] = {}
    for band, name in enumerate(BANDS):
        values = np.stack([average_precision(one, weights, band) for one in made])
        there = ~np.isnan(values)
        if not there.any(0).all():
            seen = f"no {name} object in some resample of the {n} validation images"
            raise InvalidInput("detect", field="validation", seen=seen, expected="more images")
        by_threshold = np.where(there, values, 0).sum(0) / there.sum(0)
        rows["ap" if name == "all" else name] = by_threshold.mean(1)
        if name == "all":
            rows |= {"ap50": by_threshold[:, IOUS.searchsorted(0.5)], "ap75": by_threshold[:, IOUS.searchsorted(0.75 - 1e-9)]}
    return np.stack([rows[name] for name in STATISTICS])


def records(made: dict[str, list[Matches]]) -> dict[str, NDArray[np.generic]]:
    """The matches as columns: detections of all categories, in each by falling score; thresholds as bits of an integer."""
    first = made[TASKS[0]]
    bit = (1 << np.arange(len(IOUS)))[:, None]
    columns: dict[str, NDArray[np.generic]] = {
        "image": np.concatenate([one.image for one in first]).astype(np.int16),
        "category": np.concatenate([np.full(len(one.image), c) for c, one in enumerate(first)]).astype(np.int16),
        "objects": np.stack([one.objects for one in first]).astype(np.int16),
    }
    for name in ("matched", "uncounted"):
        of_task = [np.concatenate([(getattr(one, name) * bit).sum(1) for one in made[task]], 1) for task in TASKS]
        columns[name] = np.stack(of_task).astype(np.int16)
    return columns


def pictures(
    pixels: NDArray[np.uint8], found: Sequence[Instances], categories: Sequence[str]
) -> dict[str, NDArray[np.generic]]:
    """The first images with those of their detections whose score is at least SHOWN, as columns.

    pixels: (n, s, s, 3). found: the detections of each image.
    """
    each = [(i, one, np.flatnonzero(one.score >= SHOWN)) for i, one in enumerate(found[:PICTURES])]
    size = pixels.shape[1:3]
    masks = [one.masks()[kept] if len(kept) else np.zeros((0, *size), bool) for _, one, kept in each]
    return {
        "picture": pixels[:PICTURES],
        "shown_picture": np.concatenate([np.full(len(kept), i) for i, _, kept in each]).astype(np.int16),
        "shown_box": np.concatenate([one.box[kept].reshape(-1, 4) for _, one, kept in each]).astype(np.float32),
        "shown_mask": np.concatenate(masks).astype(np.uint8),
        "shown_category": np.concatenate([one.category[kept] for _, one, kept in each]).astype(np.int16),
        "shown_score": np.concatenate([one.score[kept] for _, one, kept in each]).astype(np.float32),
        "categories": pack(categories),
    }


def _scenes(data: ScenesData, settings: DetectionParams, split: str, count: int) -> tuple[NDArray[np.uint8], Annotations]:
    made = scenes.compose(sprites.load(data.sprites, split, None), settings.world, split, np.arange(count))
    return made.image, coco.parse(made.coco(), f"{split} scenes")
