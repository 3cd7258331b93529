"""The detector: its pyramid's maps, and that it learns from features with information and from no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.data.annotated import AnnotatedImages, composed
from harness.data.coco import Instances
from harness.maths.average_precision import average_precision
from harness.models.build import build, normaliser
from harness.models.detections import matches
from harness.models.tokens import patch_tokens
from harness.params.images import ScenesData
from harness.params.load import load_params
from harness.params.profile import DetectionParams, EndToEndParams
from harness.training.detector import Backbone, Detector, Features, Pyramid, detect, train

BANDS = np.array([(0.0, 1e10)])


@pytest.mark.parametrize(("factor", "side"), [(0.25, 32), (0.5, 16), (1, 8), (2, 4)])
def test_a_level_of_the_pyramid_has_its_stride(factor: float, side: int) -> None:
    maps = Pyramid(12, [factor], 6)(torch.zeros(2, 12, 8, 8))
    assert maps["0"].shape == (2, 6, side, side)


def settings(**changes: object) -> DetectionParams:
    known = load_params(ROOT / "params.yaml").of("embedded").detection
    assert known is not None
    return known.model_copy(update={"channels": 16, "epochs": 12, "batch": 8, "warmup_steps": 5, "rate": 6e-3} | changes)


def annotated(split: str, count: int) -> AnnotatedImages:
    known = load_params(ROOT / "params.yaml").of("embedded")
    assert isinstance(known.data, ScenesData)
    assert known.detection is not None
    assert known.detection.world is not None
    return composed(known.data, known.detection.world, split, count)


def planted(images: AnnotatedImages, shift: int = 0) -> Features:
    """(b, classes, 16, 16): the share of each half-patch that an object of a class covers; shift: of another image."""
    maps = torch.zeros(len(images), 10, 32, 32)
    for i, one in enumerate(images.objects.instances):
        for category, mask in zip(one.category, one.masks(), strict=True):
            maps[i, category] += torch.from_numpy(mask).float()
    pooled = torch.nn.functional.avg_pool2d(maps, 2).roll(shift, 0)
    return lambda chosen: pooled[chosen]


def ap(found: list[Instances], images: AnnotatedImages, task: str) -> np.ndarray:
    """AP by threshold, mean over the categories."""
    objects = images.objects
    made = matches(objects.instances, found, len(objects.categories), BANDS, task)
    weights = np.ones((1, len(images)))
    return np.nanmean(np.stack([average_precision(one, weights, 0)[0] for one in made]), 0)


@pytest.fixture(scope="module")
def trained() -> tuple[Detector, list[float]]:
    learnt = annotated("train", 160)
    torch.manual_seed(0)
    detector = Detector(10, 2, 32, 10, settings())
    return detector, train(planted(learnt), learnt, detector, 0)


def test_it_learns_where_features_say_where_objects_are(trained: tuple[Detector, list[float]]) -> None:
    detector, loss = trained
    judged = annotated("validation", 60)
    assert loss[-1] < 0.75 * loss[0]
    found = detect(planted(judged), judged, detector)
    boxes, masks = ap(found, judged, "box"), ap(found, judged, "mask")
    assert boxes[0] > 0.4
    assert masks[0] > 0.2
    assert all(len(one) <= settings().detections for one in found)
    # The features of another image say nothing about this one.
    shuffled = ap(detect(planted(judged, shift=1), judged, detector), judged, "box")
    assert shuffled[0] < 0.01


def test_the_same_seed_gives_the_same_detector() -> None:
    learnt = annotated("train", 16)
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        detector = Detector(10, 2, 32, 10, settings(epochs=1))
        train(planted(learnt), learnt, detector, 3)
        weights.append(torch.cat([p.detach().flatten() for p in detector.parameters()]))
    assert torch.equal(*weights)


def test_what_cannot_be_trained_is_refused() -> None:
    learnt = annotated("train", 4)
    with pytest.raises(InvalidInput, match=r"(?s)detection\.batch.*at most 4"):
        train(planted(learnt), learnt, Detector(10, 2, 32, 10, settings()), 0)
    broken = torch.full((16, 10, 16, 16), float("nan"))
    learnt = annotated("train", 16)
    with pytest.raises((InvalidInput, ValueError), match=r"(?s)loss|degenerate|NaN|nan"):
        train(lambda chosen: broken[chosen], learnt, Detector(10, 2, 32, 10, settings(epochs=1)), 0)


def test_an_image_without_detections_has_none() -> None:
    torch.manual_seed(0)
    images = annotated("validation", 1)
    (found,) = detect(lambda _: torch.zeros(1, 10, 16, 16), images, Detector(10, 2, 32, 10, settings()).eval())
    assert len(found) == len(found.rle) == len(found.box)


TUNED = EndToEndParams(rate=2e-3, layer_decay=0.5, drop_path=0.0, weight_decay=0.05)


def backbone() -> Backbone:
    architecture = load_params(ROOT / "params.yaml").of("embedded").architectures["vit"]
    network = build(architecture.name, seed=3, positions="sincos", **architecture.options)
    return Backbone(network, normaliser((0.5,) * 3, (0.25,) * 3), TUNED)


def test_a_backbone_gives_the_tokens_that_the_frozen_network_has() -> None:
    known = backbone().eval()
    pixels = annotated("train", 3).read(range(3), 32)
    frozen = patch_tokens(known.network, known.normalise, pixels, "final", batch=2)
    found = known(torch.from_numpy(pixels))
    assert found.requires_grad
    assert torch.allclose(found.float(), frozen.float(), atol=2e-3)


def test_each_layer_of_a_backbone_has_a_share_of_the_next_ones_rate() -> None:
    known = backbone()
    groups = known.groups()
    scale = {id(p): group["scale"] for group in groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    blocks = [scale[id(block.attn.qkv.weight)] for block in known.network.blocks]
    assert blocks == pytest.approx([TUNED.rate * 0.5 ** (11 - i) for i in range(12)])
    assert scale[id(known.network.patch_embed.proj.weight)] == pytest.approx(TUNED.rate * 0.5**12)
    assert decay[id(known.network.blocks[0].attn.qkv.weight)] == TUNED.weight_decay
    assert decay[id(known.network.blocks[0].norm1.weight)] == 0
    assert {id(p) for p in known.parameters()} == set(scale)


def test_end_to_end_training_moves_late_layers_more_and_lowers_the_loss() -> None:
    learnt = annotated("train", 32)
    known = backbone()
    before = {name: p.detach().clone() for name, p in known.network.named_parameters()}
    torch.manual_seed(0)
    detector = Detector(64, 4, 32, 10, settings(epochs=4))
    loss = train(lambda i: known(torch.from_numpy(learnt.read(i, 32))), learnt, detector, 0, backbone=known)
    assert loss[-1] < loss[0]
    moved = {name: (p - before[name]).abs().mean().item() for name, p in known.network.named_parameters()}
    assert moved["blocks.11.attn.qkv.weight"] > 4 * moved["blocks.4.attn.qkv.weight"] > 0
