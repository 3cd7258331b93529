"""AP against pycocotools, on random detections with crowds, ties, empty images and masks; and under weights of the images."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from harness.data import coco
from harness.data.coco import Instances
from harness.maths.average_precision import IOUS, Matches, average_precision, match
from harness.models.detections import matches

Box = tuple[int, int, int, int]
SIZE, CATEGORIES = 48, 3
BANDS = np.array([(0.0, 1e10), (0.0, 60.0), (60.0, 140.0), (140.0, 1e10)])


def rectangle(rng: np.random.Generator, around: Box | None = None) -> Box:
    if around is None:
        w, h = rng.integers(4, 18, 2)
        return int(rng.integers(0, SIZE - w)), int(rng.integers(0, SIZE - h)), int(w), int(h)
    x, y, w, h = (max(0, int(value + rng.integers(-2, 3))) for value in around)
    return x, y, max(2, min(w, SIZE - x)), max(2, min(h, SIZE - y))


def rle_of(box: Box, hole: bool) -> Any:
    x, y, w, h = box
    mask = np.zeros((SIZE, SIZE), bool)
    mask[y : y + h, x : x + w] = True
    if hole:
        mask[y + h // 3 : y + h // 2, x + w // 3 : x + w // 2 + 1] = False
    return coco.encode(mask)


def world(seed: int, images: int = 14) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """COCO's annotations, and results with boxes and masks: some near an object, some anywhere, scores with ties."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for i in range(images):
        for _ in range(rng.integers(0, 5)):
            box, category = rectangle(rng), int(rng.integers(CATEGORIES)) + 1
            rle = rle_of(box, bool(rng.integers(2)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": category,
                    "bbox": list(box),
                    "area": float(coco.Instances.masks(_one(rle)).sum()),
                    "iscrowd": int(rng.random() < 0.15),
                    "segmentation": rle,
                }
            )
            for _ in range(rng.integers(0, 3)):
                near = rectangle(rng, box)
                guess = category if rng.random() < 0.8 else int(rng.integers(CATEGORIES)) + 1
                results.append(_result(i + 1, guess, near, round(float(rng.random()), 1), rng))
        for _ in range(rng.integers(0, 3)):
            results.append(
                _result(i + 1, int(rng.integers(CATEGORIES)) + 1, rectangle(rng), round(float(rng.random()), 1), rng)
            )
    raw = {
        "images": [{"id": i + 1, "height": SIZE, "width": SIZE, "file_name": f"{i}.png"} for i in range(images)],
        "categories": [{"id": c + 1, "name": f"c{c}"} for c in range(CATEGORIES)],
        "annotations": annotations,
    }
    return raw, results


def _result(image: int, category: int, box: Box, score: float, rng: np.random.Generator) -> dict[str, Any]:
    rle = rle_of(box, bool(rng.integers(2)))
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score, "segmentation": rle}


def _one(rle: Any) -> Instances:
    return Instances(np.zeros((1, 4)), (rle,), np.zeros(1, int), np.zeros(1), np.zeros(1, bool), np.ones(1))


def found(results: list[dict[str, Any]], images: int) -> list[Instances]:
    found = []
    for i in range(images):
        own = [result for result in results if result["image_id"] == i + 1]
        area = np.array([float(_one(one["segmentation"]).masks().sum()) for one in own])
        found.append(
            Instances(
                np.array([one["bbox"] for one in own], float).reshape(-1, 4),
                tuple(one["segmentation"] for one in own),
                np.array([one["category_id"] - 1 for one in own], np.int64),
                area,
                np.zeros(len(own), bool),
                np.array([one["score"] for one in own]),
            )
        )
    return found


def oracle(raw: dict[str, Any], results: list[dict[str, Any]], kind: str) -> np.ndarray:
    """pycocotools' precision averaged over recalls: (IOUS, category, band), -1 where no object counts."""
    key = {"box": "bbox", "mask": "segmentation"}[kind]
    kept = [{name: one[name] for name in ("image_id", "category_id", "score", key)} for one in results]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = raw
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(kept), {"box": "bbox", "mask": "segm"}[kind])
        evaluation.params.areaRng = BANDS.tolist()
        evaluation.params.areaRngLbl = ["all", "small", "medium", "large"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]
    return np.where(precision[:, 0] < 0, -1, precision.mean(1))


def ours(matched: list[Matches], weights: np.ndarray) -> np.ndarray:
    """(r, IOUS, category, band)."""
    return np.stack([np.stack([average_precision(one, weights, band) for band in range(len(BANDS))], 2) for one in matched], 2)


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("seed", range(4))
def test_ap_is_that_of_pycocotools(seed: int, kind: Any) -> None:
    raw, results = world(seed)
    annotations = coco.parse(raw, "test")
    made = matches(annotations.instances, found(results, len(annotations)), CATEGORIES, BANDS, kind)
    own = ours(made, np.ones((1, len(annotations))))[0]
    expected = oracle(raw, results, kind)
    assert (np.isnan(own) == (expected == -1)).all()
    assert own[expected >= 0] == pytest.approx(expected[expected >= 0], abs=1e-9)
    assert expected.max() > 0.1


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_an_image_that_is_drawn_twice_counts_twice_and_one_that_is_not_drawn_not_at_all(kind: Any) -> None:
    raw, results = world(7)
    annotations = coco.parse(raw, "test")
    n = len(annotations)
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n))
    made = matches(annotations.instances, found(results, n), CATEGORIES, BANDS, kind)
    own = ours(made, counts[None].astype(float))[0]
    chosen = np.repeat(np.arange(n), counts)
    again = matches([annotations.instances[i] for i in chosen], [found(results, n)[i] for i in chosen], CATEGORIES, BANDS, kind)
    np.testing.assert_allclose(own, ours(again, np.ones((1, n)))[0], atol=1e-9)
    assert np.abs(own - ours(made, np.ones((1, n)))[0])[~np.isnan(own)].max() > 0.01


def test_perfect_detections_have_ap_one_and_none_have_zero() -> None:
    raw, _ = world(3)
    for annotation in raw["annotations"]:
        annotation["iscrowd"] = 0
    annotations = coco.parse(raw, "test")
    for kind in ("box", "mask"):
        made = matches(annotations.instances, annotations.instances, CATEGORIES, BANDS[:1], kind)
        values = ours_all(made)
        assert values == pytest.approx(np.ones_like(values))
        nothing = matches(annotations.instances, found([], len(annotations)), CATEGORIES, BANDS[:1], kind)
        assert (ours_all(nothing) == 0).all()


def ours_all(made: list[Matches]) -> np.ndarray:
    weights = np.ones((1, made[0].objects.shape[1]))
    return np.stack([average_precision(one, weights, 0)[0] for one in made])


def test_of_two_detections_of_one_object_the_surer_one_matches() -> None:
    iou = np.array([[0.8], [0.9]])
    none = np.zeros((1, 1), bool)
    matched, uncounted = match(iou, none, np.zeros(1, bool), np.zeros((1, 2), bool))
    assert matched[0, :, 0].tolist() == [threshold <= 0.8 + 1e-9 for threshold in IOUS]
    # Where the surer one does not reach the threshold the other has the object.
    assert matched[0, :, 1].tolist() == [0.8 + 1e-9 < threshold <= 0.9 + 1e-9 for threshold in IOUS]
    assert not uncounted.any()


def test_a_band_without_objects_has_no_ap() -> None:
    raw, results = world(5)
    annotations = coco.parse(raw, "test")
    empty = np.array([(1e6, 1e7)])
    made = matches(annotations.instances, found(results, len(annotations)), CATEGORIES, empty, "box")
    assert np.isnan(ours_all(made)).all()
