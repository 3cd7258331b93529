"""Detect: train a Mask R-CNN on a model's patch tokens, and compute its average precision with bootstrap draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import BANDS, DETECT, STATISTICS, TASKS, pack
from harness.data import annotated
from harness.data.annotated import AnnotatedImages
from harness.data.coco import Annotations, Instances
from harness.evidence.resampling import DRAWS, FloatArray, resample_weights
from harness.maths.average_precision import IOUS, Matches, average_precision
from harness.models import checkpoint
from harness.models.build import build, normalisation, normaliser
from harness.models.detections import Kind, matches
from harness.models.tokens import LAYERS, depth_of, patch_side, patch_tokens, resample_positions
from harness.params.images import ReaderData, ScenesData
from harness.params.profile import END_TO_END, CocoParams, DetectionParams
from harness.params.wording import nearest
from harness.stages.place import Place, resolved
from harness.training.detector import Backbone, Features, build_detector, detect, train

if TYPE_CHECKING:
    from harness.training.detector import Detector

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "faster-coco-eval")
LARGEST = 1e10
# COCO's bands of area are fixed in pixels; scenes are divided at the terciles of their own boxes' or masks' areas.
COCO_BANDS = np.array([(0.0, LARGEST), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, LARGEST)])
# Images whose detections are kept to be shown, the least score of these, and the most that an image has of pixels a side.
PICTURES, SHOWN, LARGE = 6, 0.5, 256
# Bytes of features that are kept in memory.
CACHED = 4 << 30
# Images in one forward of the frozen network.
FORWARD = 256


class Setup(NamedTuple):
    """A detector and what it is trained on.

    features: the patch tokens of the chosen images. backbone: the network where it is trained too. read: which of LAYERS the
    detector reads.
    """

    detector: Detector
    features: Features
    backbone: Backbone | None
    read: str


def run(place: Place, model: str, layers: str, *, scratch: Path = Path(".scratch"), device: str = "cpu") -> None:
    """Make detect/<layers>/<model>: AP of boxes and masks on all validation scenes, in each bootstrap draw of them, and without
    each; and the matches that they are made of.

    layers: which blocks of the frozen network the detector reads, or end-to-end: the last one of a network that is trained with
    it. An interrupted training is resumed from its state in .scratch.
    Raises InvalidInput for a profile without detection, other layers, a network without patch tokens, and as `annotated.folder`
    does for a folder of images.
    """
    settings, data = place.settings.detection, place.settings.data
    if settings is None:
        field, expected = f"profiles.{place.profile}.detection", "parameters of a detector"
        raise InvalidInput("params.yaml", field=field, seen="none", expected=expected)
    if layers not in (*LAYERS, END_TO_END):
        raise InvalidInput("command line", field="--layers", seen=layers, expected=nearest(layers, [*LAYERS, END_TO_END]))
    trained = settings.trained_with(layers)
    architecture = place.params.architecture(model, place.profile)
    options = architecture.options | ({} if trained is None else {"drop_path_rate": trained.drop_path})
    network = build(architecture.name, **options)
    weights = checkpoint.load(place.path("checkpoints", model), network, place.precision(model))
    depth_of(network)  # Refuses a network without patch tokens before anything is read or composed.
    normalise = normaliser(*normalisation(place.params.weights(model, place.profile), data)).to(device)
    learnt, judged = (annotated_images(data, settings, split) for split in ("train", "validation"))
    torch.manual_seed(settings.seed)
    setup = prepare(network, normalise, learnt, layers, settings, device)
    parameters = [architecture, data, settings if trained else settings.frozen, layers]
    state = scratch / resolved([*parameters, weights.sha256])[:16]
    loss = train(setup.features, learnt, setup.detector, settings.seed, backbone=setup.backbone, scratch=state, device=device)
    side = settings.side
    found = detect(frozen_features(network, normalise, judged, setup.read, side, device), judged, setup.detector, device=device)
    classes = len(learnt.objects.categories)
    known = {task: judged.objects if settings.coco else sized(judged.objects, task) for task in TASKS}
    bands = {task: COCO_BANDS if settings.coco else bands_of(known[task]) for task in TASKS}
    made = {task: matches(known[task].instances, found, classes, bands[task], task) for task in TASKS}
    provenance = place.provenance(
        __name__,
        parameters,
        images=judged.digest(),
        weights=weights.sha256,
        inputs={f"checkpoints/{model}": weights.sha256},
        libraries=[*LIBRARIES, settings.engine],
    )
    arrays = {"ap": np.stack([resampled(made[task]) for task in TASKS]).astype(np.float32), "loss": np.array(loss, np.float32)}
    arrays |= {"edges": np.stack([bands[task][1:3, 1] for task in TASKS])} | records(made) | pictures(judged, found, side)
    store.write_arrays(place.path("detect", layers, model), DETECT, arrays, provenance)


def sized(objects: Annotations, task: Kind) -> Annotations:
    """Objects whose area is that of their boxes where boxes are detected, as the area of a detected box is.

    COCO has the mask's area for both tasks. Its bands are so wide that most boxes are in the band of their object. The terciles
    of thin strokes are not: a box is four times as large as its mask, so that few false boxes would count on small objects.
    """
    if task == "mask":
        return objects
    boxed = tuple(replace(one, area=one.box[:, 2] * one.box[:, 3]) for one in objects.instances)
    return replace(objects, instances=boxed)


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
        "objects": np.stack([[one.objects for one in made[task]] for task in TASKS]).astype(np.int16),
    }
    for name in ("matched", "uncounted"):
        of_task = [np.concatenate([(getattr(one, name) * bit).sum(1) for one in made[task]], 1) for task in TASKS]
        columns[name] = np.stack(of_task).astype(np.int16)
    return columns


def pictures(images: AnnotatedImages, found: Sequence[Instances], side: int) -> dict[str, NDArray[np.generic]]:
    """The first images with those of their detections whose score is at least SHOWN, as columns.

    found: the detections of each image, in its own pixels. side: of the network's input; what is shown is no larger than LARGE.
    """
    shown = range(min(PICTURES, len(images)))
    side = min(side, LARGE)
    each = [images.fitted(found[i].chosen(found[i].score >= SHOWN), i, side) for i in shown]
    masks = [one.masks() for one in each if len(one)] or [np.zeros((0, side, side), bool)]
    return {
        "picture": images.read(shown, side),
        "shown_picture": np.repeat(shown, [len(one) for one in each]).astype(np.int16),
        "shown_box": np.concatenate([one.box for one in each]).astype(np.float32),
        "shown_mask": np.concatenate(masks).astype(np.uint8),
        "shown_category": np.concatenate([one.category for one in each]).astype(np.int16),
        "shown_score": np.concatenate([one.score for one in each]).astype(np.float32),
        "categories": pack(images.objects.categories),
    }


def annotated_images(data: ScenesData | ReaderData, settings: DetectionParams, split: str) -> AnnotatedImages:
    """The images of a split that detectors learn from or are judged on. Raises InvalidInput for a profile without any."""
    count = settings.train if split == "train" else settings.validation
    images = settings.images
    if isinstance(images, CocoParams):
        return annotated.folder(images, split, count)
    if not isinstance(data, ScenesData):
        raise InvalidInput("params.yaml", field="detection", seen="no images", expected="world, of scenes, or coco, a folder")
    return annotated.composed(data, images, split, count)


def prepare(
    network: nn.Module,
    normalise: nn.Module,
    images: AnnotatedImages,
    layers: str,
    settings: DetectionParams,
    device: str,
    *,
    count: int | None = None,
) -> Setup:
    """A detector for a network, whose positional embedding is resampled in place to the images' size.

    count: of the images that there will be, where these stand for more.
    """
    side, trained = settings.side, settings.trained_with(layers)
    resample_positions(network, side)
    read = layers if trained is None else "final"
    channels, classes = network.embed_dim * len(LAYERS[read]), len(images.objects.categories)
    detector = build_detector(channels, patch_side(network), side, classes, settings)
    if trained is None:
        return Setup(detector, frozen_features(network, normalise, images, read, side, device, count=count), None, read)
    backbone = Backbone(network, normalise, trained)
    return Setup(detector, lambda chosen: backbone(torch.from_numpy(images.read(chosen, side)).to(device)), backbone, read)


def frozen_features(
    network: nn.Module,
    normalise: nn.Module,
    images: AnnotatedImages,
    layers: str,
    side: int,
    device: str,
    *,
    count: int | None = None,
) -> Features:
    """Patch tokens of a frozen network: computed once where all of them fit into CACHED bytes, else whenever they are read.

    count: of the images that there will be, where these stand for more.
    """

    def tokens(chosen: NDArray[np.int64]) -> Tensor:
        return patch_tokens(network, normalise, images.read(chosen, side), layers, batch=FORWARD, device=device)

    bytes_of_one = 2 * network.embed_dim * len(LAYERS[layers]) * (side // patch_side(network)) ** 2
    if bytes_of_one * (count or len(images)) > CACHED:
        return lambda chosen: tokens(chosen).to(device).float()
    starts = range(0, len(images), FORWARD)
    cached = torch.cat([tokens(np.arange(start, min(start + FORWARD, len(images)))) for start in starts])
    return lambda chosen: cached[chosen].to(device).float()
