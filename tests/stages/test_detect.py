"""The stage detect on small scenes: what it writes, what AP is made of, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from faster_coco_eval.core import mask

from harness.artifacts import store
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import DETECT, STATISTICS, TASKS
from harness.data.annotated import AnnotatedImages
from harness.data.coco import Annotations, Instances
from harness.evidence.resampling import DRAWS, SEED, bootstrap_counts
from harness.maths.average_precision import IOUS, Matches, average_precision
from harness.models.build import build, normaliser
from harness.models.detections import matches
from harness.models.tokens import LAYERS, patch_tokens
from harness.params.load import check_params
from harness.params.profile import END_TO_END
from harness.stages import detect, weights
from harness.stages.place import Place

IMAGES = 24


def place(**changes: Any) -> Place:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    profile = raw["profiles"]["embedded"]
    profile["detection"] |= {"train": 32, "validation": IMAGES, "epochs": 2, "batch": 8, "channels": 8} | changes
    return Place(check_params(raw, "params.yaml"), "embedded")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, store.Arrays]:
    folder = tmp_path_factory.mktemp("detect")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        weights.run(place(), "random")
        detect.run(place(), "random", "final+9")
        path = folder / place().path("detect", "final+9", "random")
        return folder, store.read_arrays(path, DETECT)


def test_the_artifact_says_what_made_it(measured: tuple[Path, store.Arrays]) -> None:
    folder, arrays = measured
    checkpoint = folder / place().path("checkpoints", "random")
    assert arrays.provenance.inputs == {"checkpoints/random": arrays.provenance.weights}
    assert checkpoint.is_file()
    assert arrays["ap"].shape == (len(TASKS), len(STATISTICS), 1 + DRAWS + IMAGES)
    assert len(arrays["loss"]) == 2
    # The boxes of strokes are larger than their masks.
    assert (arrays["edges"][0] > 2 * arrays["edges"][1]).all()
    assert (arrays["edges"][:, 0] < arrays["edges"][:, 1]).all()
    # Terciles: a third of the objects are in each band, for boxes and for masks.
    counts = arrays["objects"].sum((1, 3))
    assert np.abs(counts[:, 1:] / counts[:, :1] - 1 / 3).max() < 0.06


def test_ap_can_be_taken_again_from_the_matches(measured: tuple[Path, store.Arrays]) -> None:
    _, arrays = measured
    counts = bootstrap_counts(SEED, IMAGES, DRAWS)[6][None].astype(float)
    without = 1.0 - np.eye(IMAGES)[[3]]
    bits = 1 << np.arange(len(IOUS))
    for task in range(len(TASKS)):
        made = []
        for category, objects in enumerate(arrays["objects"][task]):
            own = arrays["category"] == category
            matched, uncounted = ((arrays[name][task][:, None, own] & bits[:, None]) > 0 for name in ("matched", "uncounted"))
            made.append(Matches(np.asarray(arrays["image"][own], np.int64), matched, uncounted, np.asarray(objects, np.int64)))
        for weights_of, column in ((np.ones((1, IMAGES)), 0), (counts, 7), (without, 1 + DRAWS + 3)):
            values = np.nanmean(np.stack([average_precision(one, weights_of, 0)[0] for one in made]), 0)
            assert arrays["ap"][task, 0, column] == pytest.approx(values.mean(), abs=1e-6)
            assert arrays["ap"][task, 1, column] == pytest.approx(values[0], abs=1e-6)


def test_false_boxes_count_in_the_band_of_objects_of_their_size() -> None:
    """Each object is found after a false box of its own size, so that a half of what counts in each band is false."""
    settings = place().settings
    assert settings.detection is not None
    images = detect.annotated_images(settings.data, settings.detection, "validation")
    found = []
    for one in images.objects.instances:
        far = one.box + np.array([100.0, 100.0, 0.0, 0.0])
        n = len(one)
        found.append(
            Instances(
                np.concatenate([one.box, far]),
                [*one.rle, *one.rle],
                np.concatenate([one.category] * 2),
                np.concatenate([one.area] * 2),
                np.zeros(2 * n, bool),
                np.concatenate([np.full(n, 0.5), np.full(n, 0.9)]),
            )
        )
    shares = []
    for objects in (detect.sized(images.objects, "box"), images.objects):
        made = matches(objects.instances, found, 10, detect.bands_of(objects), "box")
        counted = sum((~one.uncounted[:, 0]).sum(1) for one in made)
        shares.append(sum((one.matched & ~one.uncounted)[:, 0].sum(1) for one in made) / counted)
    assert shares[0] == pytest.approx([0.5] * 4)
    # By the areas of masks, as COCO has it, few of them are small or medium.
    assert (shares[1][1:3] > 0.8).all()
    assert detect.sized(images.objects, "mask") is images.objects


def test_more_layers_are_more_channels_of_the_same_tokens() -> None:
    known = place()
    architecture = known.params.architecture("random", "embedded")
    network = build(architecture.name, seed=1, positions="sincos", **architecture.options)
    data: Any = known.settings.data
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = {name: patch_tokens(network, normaliser(data.mean, data.std), pixels, name, batch=2) for name in LAYERS}
    width = found["final"].shape[1]
    assert found["final"].shape == (3, width, 8, 8)
    for name, blocks in LAYERS.items():
        assert found[name].shape[1] == width * len(blocks)
        assert (found[name][:, :width] == found["final"]).all()
    assert (found["final+final"][:, width:] == found["final"]).all()
    assert (found["final+9+10"][:, width:] == torch.cat([found["final+9"][:, width:], found["final+10"][:, width:]], 1)).all()
    # The tokens of the final block are those that the network's own forward gives.
    inputs = normaliser(data.mean, data.std)(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    own = network.forward_features(inputs)[:, 1:].transpose(1, 2).reshape(3, width, 8, 8)
    assert found["final"].float().numpy() == pytest.approx(own.detach().numpy(), abs=2e-3)


def test_what_cannot_be_detected_is_refused(measured: tuple[Path, store.Arrays], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(measured[0])
    with pytest.raises(InvalidInput, match=r"(?s)--layers.*final\+9"):
        detect.run(place(), "random", "final9")
    weights.run(place(), "random_resnet50")
    with pytest.raises(InvalidInput, match=r"(?s)network.*ResNet.*patch tokens"):
        detect.run(place(), "random_resnet50", "final")
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    del raw["profiles"]["embedded"]["detection"]
    raw["profiles"]["embedded"]["segmented"] = raw["profile"]["segmented"] = []
    with pytest.raises(InvalidInput, match=r"profiles\.embedded\.detection"):
        detect.run(Place(check_params(raw, "params.yaml"), "embedded"), "random", "final")


def test_end_to_end_the_backbone_learns_too_and_its_checkpoint_stays_as_it_is(
    measured: tuple[Path, store.Arrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = measured
    monkeypatch.chdir(folder)
    known = place()
    before = known.path("checkpoints", "random").read_bytes()
    detect.run(known, "random", "final")
    detect.run(known, "random", END_TO_END)
    assert known.path("checkpoints", "random").read_bytes() == before
    frozen, trained = (store.read_arrays(known.path("detect", layers, "random"), DETECT) for layers in ("final", END_TO_END))
    # The same detector starts on the same features.
    assert trained["loss"][0] == pytest.approx(frozen["loss"][0], rel=0.05)
    assert (trained["loss"] != frozen["loss"]).all()
    with pytest.raises(InvalidInput, match=r"detection\.end_to_end"):
        detect.run(place(end_to_end=None), "random", END_TO_END)


def test_a_resumed_detector_is_the_uninterrupted_one_and_no_other_layers_take_its_state(
    measured: tuple[Path, store.Arrays], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, whole = measured
    monkeypatch.chdir(folder)
    train = detect.train

    def killed(*args: Any, **options: Any) -> list[float]:
        train(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(detect, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            detect.run(place(), "random", "final+9", scratch=tmp_path)
    path = place().path("detect", "final+9", "random")
    path.unlink()
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: pytest.fail("an epoch is trained again"))
    detect.run(place(), "random", "final+9", scratch=tmp_path)
    resumed = store.read_arrays(path, DETECT)
    assert all(np.array_equal(whole[name], resumed[name]) for name in ("ap", "loss", "matched"))
    with pytest.raises(pytest.fail.Exception):
        detect.run(place(), "random", "final", scratch=tmp_path)


@pytest.mark.parametrize("factor", [1, 2])
def test_what_is_shown_of_the_first_images_is_what_was_found_with_a_score_of_at_least_a_half(factor: int) -> None:
    """Images of 8 pixels, shown as they are and at twice the size."""
    size, count = 8, detect.PICTURES + 1
    truth = np.zeros((3, size, size), bool)
    truth[0, 1:3, 2:5] = truth[1, 4:, :2] = truth[2, 0, 0] = True
    some = instances(truth, np.array([0.9, 0.5, 0.49]), np.array([2, 0, 1]))
    none = instances(truth[:0], np.zeros(0), np.zeros(0, int))
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    known = Annotations(("x",) * count, np.full((count, 2), size), (none,) * count, ("a", "b", "c"))
    images = AnnotatedImages(known, pixels.__getitem__)
    found = [none, some, *[none] * (count - 3), some]
    columns = detect.pictures(images, found, factor * size)
    assert columns["picture"].shape == (detect.PICTURES, factor * size, factor * size, 3)
    assert factor == 2 or (columns["picture"] == pixels[: detect.PICTURES]).all()
    assert columns["shown_picture"].tolist() == [1, 1]
    assert columns["shown_category"].tolist() == [2, 0]
    assert columns["shown_score"].tolist() == pytest.approx([0.9, 0.5])
    assert (columns["shown_box"] == factor * np.array([[2, 1, 3, 2], [0, 4, 2, 4]])).all()
    assert (columns["shown_mask"] == truth[:2].repeat(factor, 1).repeat(factor, 2)).all()
    nothing = detect.pictures(images, [none] * count, size)
    assert (nothing["shown_box"].shape, nothing["shown_mask"].shape) == ((0, 4), (0, size, size))


def instances(masks: np.ndarray, score: np.ndarray, category: np.ndarray) -> Instances:
    """Detections of these masks (k, height, width), with the boxes around them."""
    box = np.zeros((len(masks), 4))
    for i, one in enumerate(masks):
        y, x = np.nonzero(one)
        box[i] = x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1
    rle = [mask.encode(np.asfortranarray(one.astype(np.uint8))) for one in masks]
    return Instances(box, rle, category.astype(np.int64), masks.sum((1, 2)).astype(float), np.zeros(len(masks), bool), score)
