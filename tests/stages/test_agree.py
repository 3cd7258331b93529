"""The agreement stage on a tiny profile."""

from __future__ import annotations

import numpy as np
import pytest

from harness.artifacts import store
from harness.artifacts.errors import InvalidInput
from harness.artifacts.tables import AGREE, PROBE
from harness.maths.agreement import tau_b
from harness.stages import agree, extract, probe, weights
from harness.stages.place import Place


@pytest.fixture
def probed(tiny: Place) -> Place:
    for model in ("one", "two"):
        weights.run(tiny, model)
        extract.run(tiny, model)
        probe.run(tiny, model)
    return tiny


def test_each_image_has_its_tau_and_what_class_alone_gives(probed: Place) -> None:
    for model in ("one", "two"):
        agree.run(probed, model)
    tops = [store.read_arrays(probed.path("probes", model), PROBE) for model in ("two", "one")]
    found = store.read_pairs(probed.path("agree", "two"), AGREE).of("one")
    for i, k in enumerate((5, 10)):
        np.testing.assert_allclose(found["tau"][i], tau_b(*(np.array(t["top"][:, :k]) for t in tops)), atol=2.5e-4)
    assert found["answer_a"].tolist() == tops[0]["top"][:, 0].tolist()
    assert found["answer_b"].tolist() == tops[1]["top"][:, 0].tolist()
    assert found["label"].tolist() == tops[0]["label"].tolist()
    itself = store.read_pairs(probed.path("agree", "one"), AGREE).of("one")
    np.testing.assert_array_equal(itself["tau"], 1)
    # With itself on other images of the class a model agrees less.
    assert (itself["chance"].mean(1) < 0.99).all()


def test_probes_on_other_images_are_refused(probed: Place) -> None:
    arrays = store.read_arrays(probed.path("probes", "two"), PROBE)
    values = {name: np.array(value) for name, value in arrays.values.items()}
    store.write_arrays(probed.path("probes", "two"), PROBE, values, arrays.provenance.model_copy(update={"images": "others"}))
    with pytest.raises(InvalidInput, match="image lists"):
        agree.run(probed, "two")


def test_too_few_ranked_classes_are_refused(probed: Place) -> None:
    arrays = store.read_arrays(probed.path("probes", "one"), PROBE)
    few = store.Arrays(dict(arrays.values) | {"top": arrays["top"][:, :9]}, arrays.provenance, "")
    with pytest.raises(InvalidInput, match="9 classes ranked"):
        agree.agreement(few, few)
