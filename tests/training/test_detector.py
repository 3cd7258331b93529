"""Detectors of both engines: that they learn from features with information and from no others."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.artifacts.closure import ROOT
from harness.artifacts.errors import BadEnvironment, InvalidInput
from harness.artifacts.tables import TASKS
from harness.data.annotated import AnnotatedImages, composed
from harness.data.coco import Instances
from harness.maths.average_precision import average_precision
from harness.models.build import build, normaliser
from harness.models.detections import matches
from harness.models.tokens import patch_tokens
from harness.params.images import ScenesData
from harness.params.load import load_params
from harness.params.profile import DetectionParams, EndToEndParams
from harness.training.detector import Backbone, Features, build_detector, detect, pasted, train
from harness.training.mask_rcnn import Pyramid

BANDS = np.array([(0.0, 1e10)])
absent = pytest.mark.skipif(find_spec("detectron2") is None, reason="detectron2 is not installed")


@pytest.fixture(scope="module", params=["torchvision", pytest.param("detectron2", marks=absent)])
def engine(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


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


def offset(found: list[Instances], images: AnnotatedImages) -> np.ndarray:
    """(2,): how far, in y and x, detected masks lie from those of the objects that they overlap by a third, in the mean."""
    moved = []
    for one, known in zip(found, images.objects.instances, strict=True):
        for mask in one.masks():
            for true in known.masks():
                if (mask & true).sum() > (mask | true).sum() / 3:
                    moved.append(np.argwhere(mask).mean(0) - np.argwhere(true).mean(0))
    assert len(moved) > 30
    return np.mean(moved, 0)


def planted(images: AnnotatedImages, shift: int = 0) -> Features:
    """(b, 4 x classes, 16, 16): the share of each half-patch that an object of a class covers; shift: of another image."""
    maps = torch.zeros(len(images), 10, 32, 32)
    for i, one in enumerate(images.objects.instances):
        for category, mask in zip(one.category, one.masks(), strict=True):
            maps[i, category] += torch.from_numpy(mask).float()
    # Each map four times, since a pyramid halves the channels where it doubles the side.
    pooled = torch.nn.functional.avg_pool2d(maps, 2).roll(shift, 0).repeat(1, 4, 1, 1)
    return lambda chosen: pooled[chosen]


def ap(found: list[Instances], images: AnnotatedImages, task: str) -> np.ndarray:
    """AP by threshold, mean over the categories."""
    objects = images.objects
    made = matches(objects.instances, found, len(objects.categories), BANDS, task)
    weights = np.ones((1, len(images)))
    return np.nanmean(np.stack([average_precision(one, weights, 0)[0] for one in made]), 0)


def test_it_learns_where_features_say_where_objects_are(engine: str) -> None:
    learnt = annotated("train", 96)
    torch.manual_seed(0)
    detector = build_detector(40, 2, 32, 10, settings(engine=engine))
    loss = train(planted(learnt), learnt, detector, 0)
    judged = annotated("validation", 60)
    assert loss[-1] < 0.75 * loss[0]
    found = detect(planted(judged), judged, detector)
    boxes, masks = ap(found, judged, "box"), ap(found, judged, "mask")
    assert boxes[0] > 0.4
    assert masks[0] > 0.4
    assert np.abs(offset(found, judged)).max() < 0.2
    assert all(len(one) <= settings().detections for one in found)
    # The features of another image say nothing about this one.
    shuffled = ap(detect(planted(judged, shift=1), judged, detector), judged, "box")
    assert shuffled[0] < 0.01


@absent
@pytest.mark.slow
def test_engines_differ_by_no_more_than_seeds() -> None:
    learnt, judged = annotated("train", 160), annotated("validation", 100)
    found = {}
    for engine in ("torchvision", "detectron2"):
        for seed in range(3):
            torch.manual_seed(seed)
            detector = build_detector(40, 2, 32, 10, settings(engine=engine))
            train(planted(learnt), learnt, detector, seed)
            known = detect(planted(judged), judged, detector)
            found[engine, seed] = [ap(known, judged, task).mean() for task in TASKS]
    one, other = (np.array([found[engine, seed] for seed in range(3)]) for engine in ("torchvision", "detectron2"))
    for task, difference, spread in zip(
        TASKS, one.mean(0) - other.mean(0), np.sqrt(one.var(0, ddof=1) + other.var(0, ddof=1)), strict=True
    ):
        # Student's t for four degrees of freedom at 95 %.
        assert abs(difference) < 2.78 * spread / np.sqrt(3), (task, found)


def test_the_same_seed_gives_the_same_detector(engine: str) -> None:
    learnt = annotated("train", 16)
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        detector = build_detector(40, 2, 32, 10, settings(engine=engine, epochs=1))
        train(planted(learnt), learnt, detector, 3)
        weights.append(torch.cat([p.detach().flatten() for p in detector.parameters()]))
    assert torch.equal(*weights)


class Killed(Exception):
    """Raised in the middle of a training."""


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "end to end"])
def test_a_killed_training_ends_as_an_uninterrupted_one(engine: str, tmp_path: Path, frozen: bool) -> None:
    learnt = annotated("train", 16)
    ends, curves, calls = [], [], []
    for name, stops in (("whole", [None]), ("killed", [3, 2, None])):
        for stop in stops:
            torch.manual_seed(0)
            detector = build_detector(40 if frozen else 64, 2 if frozen else 4, 32, 10, settings(engine=engine, epochs=3))
            known = None if frozen else backbone(drop_path_rate=0.2)
            given = planted(learnt) if known is None else lambda i, known=known: known(torch.from_numpy(learnt.read(i, 32)))
            asked: list[int] = []

            def features(chosen: np.ndarray, given=given, asked=asked, stop=stop) -> torch.Tensor:
                if len(asked) == stop:
                    raise Killed
                asked.append(len(chosen))
                return given(chosen)

            with pytest.raises(Killed) if stop else nullcontext():
                curve = train(features, learnt, detector, 3, backbone=known, scratch=tmp_path / name)
            calls.append(len(asked))
        trained = [detector, known] if known else [detector]
        ends.append(torch.cat([value.double().flatten() for part in trained for value in part.state_dict().values()]))
        curves.append(curve)
    # Two steps an epoch: killed in the second epoch, at its end before the third, and resumed after it.
    assert calls == [6, 3, 2, 2]
    assert curves[0] == curves[1]
    assert torch.equal(*ends)


def test_what_cannot_be_trained_is_refused(engine: str) -> None:
    learnt = annotated("train", 4)
    with pytest.raises(InvalidInput, match=r"(?s)detection\.batch.*at most 4"):
        train(planted(learnt), learnt, build_detector(40, 2, 32, 10, settings(engine=engine)), 0)
    broken = torch.full((16, 40, 16, 16), float("nan"))
    learnt = annotated("train", 16)
    with pytest.raises((InvalidInput, ValueError), match=r"(?s)loss|degenerate|NaN|nan"):
        train(lambda chosen: broken[chosen], learnt, build_detector(40, 2, 32, 10, settings(engine=engine, epochs=1)), 0)


def test_an_image_without_detections_has_none(engine: str) -> None:
    torch.manual_seed(0)
    images = annotated("validation", 1)
    (found,) = detect(lambda _: torch.zeros(1, 40, 16, 16), images, build_detector(40, 2, 32, 10, settings(engine=engine)))
    assert len(found) == len(found.rle) == len(found.box)


def test_a_mask_is_read_at_the_centres_of_pixels() -> None:
    box = torch.tensor([[2.6, 1.0, 7.4, 5.0]])
    (whole,) = pasted(torch.ones(1, 1, 28, 28), box, (6, 9))
    # Columns whose centres 2.5, 3.5, ... 7.5 lie within, rows from 1 to 4.
    assert torch.equal((whole > 0.5).nonzero(), torch.cartesian_prod(torch.arange(1, 5), torch.arange(3, 7)))
    left = torch.ones(1, 1, 28, 28)
    left[..., 14:] = 0
    (half,) = pasted(left, box, (6, 9))
    # The middle of the box is at 5.
    assert (half > 0.5).nonzero()[:, 1].unique().tolist() == [3, 4]
    assert pasted(torch.ones(0, 1, 28, 28), torch.zeros(0, 4), (6, 9)).shape == (0, 6, 9)


def test_both_engines_have_heads_of_vitdet(engine: str) -> None:
    learnt = annotated("train", 16)
    counts = []
    for heads in ("linear", "convolutional"):
        detector = build_detector(40, 2, 32, 10, settings(engine=engine, heads=heads, epochs=2))
        assert len(train(planted(learnt), learnt, detector, 0)) == 2
        counts.append(sum(p.ndim == 4 for p in detector.parameters()))
    # One convolution more before the proposals, four before the boxes, two before the masks.
    assert counts[1] - counts[0] == 7


def test_a_missing_detectron2_is_told_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "harness.training.vitdet", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(BadEnvironment, match=r"(?s)detection\.engine.*detectron2.*next: pip install"):
        build_detector(40, 2, 32, 10, settings(engine="detectron2"))


TUNED = EndToEndParams(rate=2e-3, layer_decay=0.5, drop_path=0.0, weight_decay=0.05)


def backbone(**options: object) -> Backbone:
    architecture = load_params(ROOT / "params.yaml").of("embedded").architectures["vit"]
    network = build(architecture.name, seed=3, positions="sincos", **architecture.options, **options)
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


def test_end_to_end_training_moves_late_layers_more_and_lowers_the_loss(engine: str) -> None:
    learnt = annotated("train", 32)
    known = backbone()
    before = {name: p.detach().clone() for name, p in known.network.named_parameters()}
    torch.manual_seed(0)
    detector = build_detector(64, 4, 32, 10, settings(engine=engine, epochs=4))
    loss = train(lambda i: known(torch.from_numpy(learnt.read(i, 32))), learnt, detector, 0, backbone=known)
    assert loss[-1] < loss[0]
    moved = {name: (p - before[name]).abs().mean().item() for name, p in known.network.named_parameters()}
    assert moved["blocks.11.attn.qkv.weight"] > 4 * moved["blocks.4.attn.qkv.weight"] > 0
