"""What is kept of fine-tuning beside its end: the features of each epoch, whom they are like, and the line between the ends."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.finetuning_tables import DRIFT, LINE, TRACE
from harness.artifacts.layout import Layout
from harness.artifacts.tables import BANK, unpack
from harness.data import images
from harness.models import checkpoint
from harness.models.build import build, normaliser
from harness.params.load import load_params
from harness.readings.final import Final
from harness.stages import drift, extract, finetune, line, weights
from harness.stages.place import Place
from tests.stages.conftest import TINY


@pytest.fixture
def tuned(tiny: Place) -> Place:
    for model in ("one", "two"):
        weights.run(tiny, model)
        extract.run(tiny, model)
    finetune.run(tiny, "one")
    return tiny


def cka(x: Any, y: Any) -> float:
    """Debiased CKA by equation 3, term by term."""

    def hsic(k: Any, m: Any) -> float:
        n = len(k)
        k, m = (g - np.diag(np.diag(g)) for g in (k, m))
        total = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
        return float((np.trace(k @ m) + total) / (n * (n - 3)))

    k, m = (np.asarray(f, np.float64) @ np.asarray(f, np.float64).T for f in (x, y))
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def test_the_trace_goes_from_the_pre_trained_features_to_the_fine_tuned_ones(tuned: Place) -> None:
    extract.run(tuned, "one_ft")
    trace = store.read_arrays(tuned.path("trace", "one"), TRACE)
    assert trace["features"].shape == (3, 32, 16)
    for snapshot, name in ((trace["features"][0], "one"), (trace["features"][-1], "one_ft")):
        bank = store.read_arrays(tuned.path("banks", name), BANK)
        np.testing.assert_array_equal(trace["image"], bank["validation_image"][:32])
        # The end is kept at half the precision that it was trained at.
        np.testing.assert_allclose(snapshot, Layout.of(bank).final(bank["validation"][:32]), atol=2e-2)
    assert np.abs(trace["features"][0] - trace["features"][1]).max() > 0.05


def test_drift_is_cka_with_the_start_the_end_and_each_reference(tuned: Place) -> None:
    drift.run(tuned, "one")
    found = store.read_arrays(tuned.path("drift", "one"), DRIFT)
    assert unpack(found["to"]) == ["start", "end", "one", "two"]
    features = store.read_arrays(tuned.path("trace", "one"), TRACE)["features"]
    others = [features[0], features[-1]]
    for name in ("one", "two"):
        bank = store.read_arrays(tuned.path("banks", name), BANK)
        others.append(Layout.of(bank).final(bank["validation"][:32]))
    own = np.sqrt(found["self_snapshot"][:, :, None] * found["self_to"][:, None])
    for subset in range(4):
        expected = [[cka(s[subset::4], o[subset::4]) for o in others] for s in features]
        np.testing.assert_allclose((found["cross"] / own)[subset], expected, atol=1e-4)
    np.testing.assert_allclose((found["cross"] / own)[:, [0, 2], [0, 1]], 1, atol=1e-5)
    # As an estimate, of all subsets at once.
    for snapshot, to, column in ((0, "start", 0), (1, "end", 1), (2, "two", 3)):
        total = found["self_snapshot"][:, snapshot].sum() * found["self_to"][:, column].sum()
        estimate = Final.of_snapshot(found, snapshot, to).same_depth()
        assert estimate.value == pytest.approx(found["cross"][:, snapshot, column].sum() / np.sqrt(total))
    for snapshot, to, said in ((3, "two", "snapshot.*seen: 3.*0 to 2"), (0, "three", "seen: three.*start, end, one, two")):
        with pytest.raises(InvalidInput, match="(?s)" + said):
            Final.of_snapshot(found, snapshot, to)


def again(place: Place, kind: str, schema: Any, change: Any) -> None:
    """Write an artifact anew, changed."""
    path = place.path(kind, "one")
    arrays = store.read_arrays(path, schema)
    values, provenance = change({name: np.array(arrays[name]) for name in schema.columns}, arrays.provenance)
    store.write_arrays(path, schema, values, provenance)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v, p: (v | {"features": v["features"][:-1]}, p), "seen: 2 snapshots.*expected: 3: the start and one"),
        (lambda v, p: (v | {"image": v["image"][::-1]}, p), "the first 32 images of .*banks/one.safetensors are others"),
    ],
)
def test_a_trace_without_an_epoch_or_of_other_images_is_refused(tuned: Place, change: Any, said: str) -> None:
    again(tuned, "trace", TRACE, change)
    with pytest.raises(InvalidInput, match="(?s)trace/one.*" + said):
        drift.run(tuned, "one")


def test_the_line_has_the_loss_of_the_parameters_between(tuned: Place) -> None:
    line.run(tuned, "one")
    found = store.read_arrays(tuned.path("line", "one"), LINE)
    np.testing.assert_allclose(found["share"], np.arange(11) / 10)
    np.testing.assert_allclose(found["loss"][0], np.log(10), rtol=1e-6)
    architecture = tuned.params.architecture("one", "tiny")
    before, after, between = (build(architecture.name, **architecture.options) for _ in range(3))
    checkpoint.load(tuned.path("checkpoints", "one"), before)
    checkpoint.load(tuned.path("checkpoints", "one_ft"), after)
    source = images.load(tuned.settings.data, "validation", 64, 0)
    pixels = torch.from_numpy(source.read(np.arange(64))).permute(0, 3, 1, 2) / 255
    inputs = normaliser(tuned.settings.data.mean, tuned.settings.data.std)(pixels)
    trace = store.read_arrays(tuned.path("trace", "one"), TRACE)
    head = [torch.tensor(trace[name]) for name in ("head_weight", "head_bias")]
    for point, share in ((3, 0.3), (10, 1.0)):
        for mixed, a, b in zip(between.parameters(), before.parameters(), after.parameters(), strict=True):
            mixed.data = (1 - share) * a.data + share * b.data
        with torch.no_grad():
            logits = F.linear(between(inputs), share * head[0], share * head[1])
        expected = F.cross_entropy(logits, torch.from_numpy(source.label), reduction="none")
        np.testing.assert_allclose(found["loss"][point], expected, atol=1e-4)
        np.testing.assert_array_equal(found["right"][point], logits.argmax(1).numpy() == source.label)


def test_ends_and_heads_of_other_runs_are_refused(tuned: Place) -> None:
    again(tuned, "trace", TRACE, lambda v, p: (v, p.model_copy(update={"parameters": "0" * 64})))
    with pytest.raises(InvalidInput, match=r"(?s)trace/one.*its run.*seen: 000000000000.*expected: that of one_ft"):
        line.run(tuned, "one")
    finetune.run(tuned, "one")
    Path("artifacts/tiny/checkpoints/one.safetensors").unlink()
    raw = copy.deepcopy(TINY)
    raw["models"]["one"]["weights"]["tiny"]["seed"] = 5
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    other = Place(load_params(Path("params.yaml")), "tiny")
    weights.run(other, "one")
    with pytest.raises(InvalidInput, match=r"(?s)checkpoints/one_ft.*its start.*expected: the one that one is now"):
        line.run(other, "one")


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ({"global_pool": "avg", "fc_norm": False}, "VisionTransformer with avg pooled"),
        ({"class_token": False, "global_pool": "avg"}, "VisionTransformer with avg pooled"),
    ],
)
def test_a_network_that_hands_on_no_cls_token_is_not_fine_tuned(tiny: Place, architecture: Any, said: str) -> None:
    raw = copy.deepcopy(TINY)
    raw["profiles"]["tiny"]["architectures"]["vit"]["options"] |= architecture
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    place = Place(load_params(Path("params.yaml")), "tiny")
    with pytest.raises(InvalidInput, match=f"(?s)finetuned: one.*{re.escape(said)}.*hands on its CLS token"):
        finetune.run(place, "one")


def test_a_convolutional_network_is_not_fine_tuned(tiny: Place) -> None:
    with pytest.raises(InvalidInput, match=r"(?s)finetuned: mine.*ResNet with maps pooled"):
        finetune.refuse_pooled(build("resnet18"), "mine")
