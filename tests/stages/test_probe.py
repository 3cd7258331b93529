"""The probe stage on a tiny profile: which features, which configurations, and that the validation images choose nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import BANK, PROBE, unpack
from harness.stages import extract, probe, weights
from harness.stages.place import Place


@pytest.fixture
def measured(tiny: Place) -> store.Arrays:
    weights.run(tiny, "one")
    extract.run(tiny, "one")
    probe.run(tiny, "one")
    return store.read_arrays(tiny.path("probes", "one"), PROBE)


def test_every_feature_set_has_its_grid_and_its_best(measured: store.Arrays) -> None:
    # Three blocks.
    assert unpack(measured["sets"]) == ["final", "final+0", "final+1", "final+2", "all", "depth2", "gap"]
    assert measured["holdout"].shape == measured["validation"].shape == (7, 8)
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
    sets = {s.name: s for s in probe.feature_sets(12, (2, 3))}
    assert len(sets) == 1 + 12 + 1 + 2 + 1
    assert (sets["final"].token, sets["final"].layers, sets["final"].depth) == (0, (12,), 1)
    assert sets["final+11"].layers == (11, 12)
    assert sets["all"].layers == (*range(11), 12)
    assert (sets["depth3"].layers, sets["depth3"].depth) == ((12,), 3)
    assert (sets["gap"].token, sets["gap"].layers) == (1, (12,))


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
    # A fifth of 128 images is held out; the best are trained anew on all.
    assert fitted == [(102, 102), (128, 128)] * 7


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
    np.testing.assert_array_equal(fitted[1], bank["train"][:100, 0, -1])


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
    np.testing.assert_array_equal(fitted[1], bank["train"][:, 0, -1])


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
