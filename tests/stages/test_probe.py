"""The probe stage on a tiny profile: which features, which configurations, and that the validation images choose nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from harness.artifacts import store
from harness.artifacts.closure import ROOT
from harness.artifacts.errors import InvalidInput
from harness.artifacts.layout import Layout
from harness.artifacts.tables import BANK, PROBE, TOKENS, unpack
from harness.stages import extract, probe, weights
from harness.stages.place import Place
from tests.forked import launched


@pytest.fixture
def measured(tiny: Place) -> store.Arrays:
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    probe.run(tiny, "one")
    return store.read_arrays(tiny.path("probes", "one"), PROBE)


def test_every_feature_set_has_its_grid_and_its_best(measured: store.Arrays) -> None:
    # Three blocks.
    assert unpack(measured["sets"]) == [
        *("final", "final+0", "final+1", "final+2", "all", "depth2", "gap", "projected0", "projected1", "projected2")
    ]
    assert measured["holdout"].shape == measured["validation"].shape == (10, 8)
    assert measured["configurations"].tolist()[1] == [50.0, 0.0, 0.0, 0.0, 2.0]
    for accuracy, best in zip(measured["holdout"], measured["best"], strict=True):
        assert best.tolist() == sorted(range(8), key=lambda i: -accuracy[i])[:3]
    assert measured["top"].shape == (96, 10)
    assert all(sorted(row) == list(range(10)) for row in measured["top"].tolist())


def test_the_bits_are_those_of_the_reported_probes(measured: store.Arrays) -> None:
    right = np.unpackbits(measured["right"], axis=2, count=96)
    np.testing.assert_array_equal(right[0, 0], measured["top"][:, 0] == measured["label"])
    assert 0.05 < right.mean() < 0.9


def test_feature_sets_are_the_layers_that_their_names_say() -> None:
    sets = {s.name: s for s in probe.feature_sets(Layout(TOKENS, (64,) * 13), (2, 3), 2)}
    assert len(sets) == 1 + 12 + 1 + 2 + 1 + 2
    assert (sets["final"].token, sets["final"].layers, sets["final"].depth) == ("cls", (12,), 1)
    assert sets["final+11"].layers == (11, 12)
    assert sets["all"].layers == (*range(11), 12)
    assert (sets["depth3"].layers, sets["depth3"].depth) == ((12,), 3)
    assert (sets["gap"].token, sets["gap"].layers) == ("gap", (12,))
    assert [(sets[f"projected{i}"].layers, sets[f"projected{i}"].projection) for i in (0, 1)] == [
        ((*range(11), 12), i) for i in (0, 1)
    ]
    assert {s.projection for s in sets.values()} == {None, 0, 1}


def test_a_network_without_a_cls_token_is_probed_by_its_pooled_maps() -> None:
    sets = {s.name: s for s in probe.feature_sets(Layout(("gap",), (8, 16, 16)), (2,), 1)}
    assert list(sets) == ["final", "final+0", "final+1", "all"]
    assert {s.token for s in sets.values()} == {"gap"}


def test_embeddings_are_probed_as_they_are() -> None:
    sets = probe.feature_sets(Layout(("cls",), (16,)), (2, 3), 1)
    assert [(s.name, s.layers, s.depth) for s in sets] == [("final", (0,), 1), ("depth2", (0,), 2), ("depth3", (0,), 3)]


def test_labels_are_coded_by_what_came_before(measured: store.Arrays) -> None:
    assert unpack(measured["coded"]) == ["final", "all"]
    assert measured["code"].shape == (2, 128)
    assert (measured["code"][:, :8] == 1).all()
    assert (measured["code"][:, 8:] != 1).all()


def test_codes_are_chosen_by_their_length_and_not_by_what_is_right() -> None:
    """Three heads: right and unsure, right but once and sure of it, and one that diverged."""
    label = torch.tensor([0, 1, 1, 1])
    unsure = torch.nn.functional.one_hot(label, 2).float()
    sure = 50 * unsure.clone()
    sure[0] = sure[0].flip(0)
    broken = torch.full((4, 2), torch.nan)
    assert probe._shortest(torch.stack([broken, sure, unsure], 1), label) == [2, 1, 0]


def test_probes_of_few_images_see_as_many_in_all(tiny: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    seen = set()
    fit = probe.fit

    def spied(view: Any, labels: torch.Tensor, classes: int, table: Any, **options: Any) -> Any:
        if len(table) == 3:
            seen.add((len(labels), *sorted({c.epochs * len(labels) for c in table}), options["batch"]))
        return fit(view, labels, classes, table, **options)

    monkeypatch.setattr(probe, "fit", spied)
    probe.run(tiny, "one")
    epochs = {images for _, *images, _ in seen for images in images}
    assert epochs <= {128, 256}
    assert {(n, batch) for n, *_, batch in seen} == {(8, 8), (16, 16), (32, 32), (64, 32), (128, 32)}


def test_a_projection_has_one_layers_width_and_all_layers_alike(tiny: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer a thousand times as loud changes nothing; a layer that is shuffled over the images does."""
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    bank = store.read_arrays(tiny.path("banks", "one"), BANK)
    settings = tiny.settings
    bare = settings.model_copy(
        update={"probe": settings.probe.model_copy(update={"views": 0, "projections": 1, "depths": (2,)})}
    )
    place = Place(tiny.params.model_copy(update={"profiles": {"tiny": bare}}), "tiny")
    fit = probe.fit

    def projected(change: Any) -> torch.Tensor:
        arrays = {name: np.array(values) for name, values in bank.values.items()}
        change(arrays["train"][:, Layout.of(bank).at("cls", 1)])
        store.write_arrays(tiny.path("banks", "one"), BANK, arrays, bank.provenance)
        fitted: list[torch.Tensor] = []
        monkeypatch.setattr(probe, "fit", lambda view, *rest, **more: fitted.append(view(0)) or fit(view, *rest, **more))
        probe.run(place, "one")
        return fitted[-1]

    plain = projected(lambda layer: None)
    assert plain.shape == (128, 16)
    np.testing.assert_allclose(projected(lambda layer: np.multiply(layer, 64, out=layer)), plain, atol=2e-3)
    assert (projected(lambda layer: np.random.default_rng(0).shuffle(layer)) - plain).abs().max() > 0.1


def test_validation_images_choose_nothing(tiny: Place, measured: store.Arrays) -> None:
    """With other validation labels the same configurations are the best, and are right in other places."""
    bank = store.read_arrays(tiny.path("banks", "one"), BANK)
    turned = {"validation_label": (np.array(bank["validation_label"]) + 1) % 10}
    store.write_arrays(tiny.path("banks", "one"), BANK, {k: np.array(bank[k]) for k in bank.values} | turned, bank.provenance)
    probe.run(tiny, "one")
    other = store.read_arrays(tiny.path("probes", "one"), PROBE)
    for name in ("best", "holdout", "top"):
        np.testing.assert_array_equal(other[name], measured[name])
    assert not np.array_equal(other["right"], measured["right"])


def test_the_holdout_is_not_trained_on(tiny: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    fitted: list[tuple[int, int]] = []
    fit = probe.fit

    def spied(view: Any, labels: torch.Tensor, classes: int, table: Any, **options: Any) -> Any:
        fitted.append((len(labels), len(view(0))))
        return fit(view, labels, classes, table, **options)

    monkeypatch.setattr(probe, "fit", spied)
    probe.run(tiny, "one")
    # A fifth of 128 images is held out; the best are trained anew on all, and where labels are coded on what came before them.
    plain, coded = [(102, 102), (128, 128)], [(n, n) for n in (8, 16, 32, 64)]
    assert fitted == plain + coded + 3 * plain + plain + coded + 5 * plain


def test_a_holdout_of_one_class_chooses_nothing(tiny: Place) -> None:
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    settings = tiny.settings
    few = settings.model_copy(update={"probe": settings.probe.model_copy(update={"holdout": 0.01})})
    with pytest.raises(InvalidInput, match=r"(?s)holdout.*1 images of 1 classes.*at least 2 classes"):
        probe.run(Place(tiny.params.model_copy(update={"profiles": {"tiny": few}}), "tiny"), "one")


def test_without_views_it_is_the_features_of_the_bank_and_no_forward(tiny: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    settings = tiny.settings
    chosen = settings.model_copy(update={"probe": settings.probe.model_copy(update={"views": 0, "images": 100})})
    fitted = []
    fit = probe.fit
    monkeypatch.setattr(probe, "fit", lambda view, *rest, **options: fitted.append(view(1)) or fit(view, *rest, **options))
    monkeypatch.setattr(probe, "represent", None)
    probe.run(Place(tiny.params.model_copy(update={"profiles": {"tiny": chosen}}), "tiny"), "one")
    bank = store.read_arrays(tiny.path("banks", "one"), BANK)
    np.testing.assert_array_equal(fitted[1], bank["train"][:100, Layout.of(bank).at("cls", -1)])


def test_views_are_of_the_images_that_the_bank_has(tiny: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that changes nothing gives the bank's features."""
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    monkeypatch.setattr(probe, "reconstruction_view", lambda size, crop: torch.nn.Identity())
    fitted = []
    fit = probe.fit
    monkeypatch.setattr(probe, "fit", lambda view, *rest, **options: fitted.append(view(1)) or fit(view, *rest, **options))
    probe.run(tiny, "one")
    bank = store.read_arrays(tiny.path("banks", "one"), BANK)
    # To rounding: views are forwarded on one thread, whatever the bank was.
    np.testing.assert_allclose(fitted[1], bank["train"][:, Layout.of(bank).at("cls", -1)], rtol=2e-3, atol=2e-3)


def test_configurations_that_diverge_are_undefined_and_too_few_that_do_not_are_refused(tiny: Place) -> None:
    def with_rates(*rates: float) -> Place:
        settings = tiny.settings
        chosen = settings.model_copy(update={"probe": settings.probe.model_copy(update={"rates": rates})})
        return Place(tiny.params.model_copy(update={"profiles": {"tiny": chosen}}), "tiny")

    weights.run(tiny, "one")
    extract.run(tiny, "one")
    probe.run(with_rates(5.0, 1e38), "one")
    holdout = store.read_arrays(tiny.path("probes", "one"), PROBE)["holdout"]
    assert np.isfinite(holdout[:, :4]).all()
    assert np.isnan(holdout[:, 4:]).any()
    with pytest.raises(InvalidInput, match="did not diverge"):
        probe.run(with_rates(1e37, 1e38), "one")


def test_cores_and_launched_processes_share_the_sets_and_give_the_same_artifact(
    tiny: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    path = tiny.path("probes", "one")

    def run() -> int:
        probe.run(tiny, "one")
        return 0

    run()
    written = [path.read_bytes()]
    path.unlink()
    assert launched(run, 2) == [0, 0]
    written.append(path.read_bytes())
    path.unlink()
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    run()
    written.append(path.read_bytes())
    assert len(set(written)) == 1


@pytest.mark.slow
def test_threads_of_its_cores_and_torchrun_give_the_same_artifact(tiny: Place) -> None:
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    path, command = tiny.path("probes", "one"), ["-m", "harness", "probe", "--profile", "tiny", "--model", "one"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python", sys.executable]
    written = []
    for launcher, threads, cores in (([], 1, 1), ([], 3, 2), (torchrun, 1, 1)):
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "LOKY_MAX_CPU_COUNT": str(cores),
            "PYTHONPATH": str(ROOT),
        }
        subprocess.run([sys.executable, *launcher, *command], env=environment, check=True, capture_output=True, timeout=300)
        written.append(path.read_bytes())
        path.unlink()
    assert len(set(written)) == 1
