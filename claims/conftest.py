"""Fixtures: one for each kind of artifact, and the methods by family. They are the methods of `harness.readings.Readings`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest

from harness.artifacts.errors import HarnessError
from harness.evidence.claim import Inputs
from harness.evidence.decide import Decision
from harness.evidence.measure import Measure
from harness.evidence.panel import Panel
from harness.params.load import load_params
from harness.params.models import start_of
from harness.params.params import Params
from harness.params.profile import END_TO_END
from harness.params.wording import nearest
from harness.readings.accuracy import Accuracy
from harness.readings.agreement import Agreements, Answers, MeasuredAnswers, PrintedAnswers
from harness.readings.detection import Detection, MeasuredDetection, PrintedDetection
from harness.readings.finetune_path import FinetunePath
from harness.readings.invariance import Invariance
from harness.readings.kinship import Kinship
from harness.readings.pair import Pairs
from harness.readings.probes import MeasuredProbes, PrintedProbes, Probes
from harness.readings.published import Published
from harness.readings.readings import Readings
from harness.readings.samples import Generated
from harness.readings.segmentation import Segmentation
from harness.readings.sweep import Sweep

# Relative, so that verdicts read the same in every checkout.
ROOT = Path(os.path.relpath(Path(__file__).resolve().parent.parent))


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a source or a model that params.yaml does not have, once and with the nearest name."""
    if hasattr(config, "workerinput"):
        return
    sources, models = config.getoption("source") or [], config.getoption("model") or []
    if not sources and not models:
        return
    try:
        known = load_params(ROOT / "params.yaml")
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error
    for option, names, there in (
        ("--source", sources, ["published", *known.profiles]),
        ("--model", [start_of(name) for name in models], list(known.models)),
    ):
        for name in names:
            if name not in there:
                raise pytest.UsageError(f"{option} {name}: expected {nearest(name, there)}")


@pytest.fixture(scope="session")
def params() -> Params:
    """The project's params.yaml."""
    return load_params(ROOT / "params.yaml")


@pytest.fixture
def readings(params: Params, inputs: Inputs) -> Readings:
    """What the artifacts of the source say."""
    return Readings(params, inputs, ROOT)


@pytest.fixture
def je(readings: Readings) -> list[str]:
    """The joint-embedding methods of the paper."""
    return readings.family("je")


@pytest.fixture
def rec(readings: Readings) -> list[str]:
    """The reconstruction methods of the paper."""
    return readings.family("rec")


@pytest.fixture
def untrained(readings: Readings) -> list[str]:
    """The untrained networks."""
    return readings.family("random")


@pytest.fixture(scope="session")
def panels(params: Params) -> Callable[[str], Panel]:
    """A profile's name to its panel, one for all claims: the instrument is measured once."""
    return cache(lambda source: Readings(params, Inputs(source), ROOT).panel())


@pytest.fixture
def panel(panels: Callable[[str], Panel], source: str) -> Panel | None:
    """The replicates that claims about methods are decided on, and what shows whether the measures can tell."""
    return None if source == "published" else panels(source)


@pytest.fixture
def cka(readings: Readings) -> Pairs:
    """Two models' names to their minibatch CKA."""
    return readings.cka


@pytest.fixture
def deconfounded(readings: Readings) -> Pairs:
    """Two models' names to their minibatch CKA net of what the pixels explain."""
    return readings.deconfounded


@pytest.fixture
def mutual(readings: Readings) -> Measure:
    """Two models' names to the nearest neighbours that they have in common."""
    return readings.mutual


@pytest.fixture
def cls(readings: Readings) -> Measure:
    """Two models' names to the debiased CKA of their CLS tokens."""
    return readings.cls


@pytest.fixture
def gap(readings: Readings) -> Measure:
    """Two models' names to the debiased CKA of their mean patch tokens."""
    return readings.gap


@pytest.fixture
def final(readings: Readings) -> Measure:
    """Two models' names to the debiased CKA of their pre-logits."""
    return readings.final


@pytest.fixture
def final_mutual(readings: Readings) -> Measure:
    """Two models' names to the nearest neighbours that they have in common in their pre-logits."""
    return readings.final_mutual


@pytest.fixture
def knn(readings: Readings) -> Callable[[str], Accuracy]:
    """A model's name to its 20-NN accuracy."""
    return readings.knn


@pytest.fixture
def probes(readings: Readings, source: str) -> Probes:
    """The probes of a profile, or what the paper prints of its own."""
    if source == "published":
        return PrintedProbes(readings.published("probe", "probes of depth 1 to 5 on frozen CLS tokens"))
    return MeasuredProbes(readings.probes)


@pytest.fixture
def finetune_path(readings: Readings) -> Callable[[str], FinetunePath]:
    """A model's name to how fine-tuning moved its attention."""
    return readings.finetune_path


@pytest.fixture
def agreements(readings: Readings) -> Agreements:
    """Two models' names to how alike their linear probes rank and answer, seen from the first one."""
    return readings.agreement


@pytest.fixture
def answers(readings: Readings, source: str) -> Answers:
    """How often two models' linear probes answer the same, in a profile or as the paper prints it."""
    if source == "published":
        return PrintedAnswers(readings.published("agree", "top-1 predictions of each model's linear probe"))
    return MeasuredAnswers(readings.agreement)


@pytest.fixture
def invariance(readings: Readings) -> Callable[[str], Invariance]:
    """A model's name to how far its features move when one thing in the image changes."""
    return readings.invariance


@pytest.fixture
def segmentation(readings: Readings) -> Callable[[str], Segmentation]:
    """A model's name to how much of objects' masks a linear read-out finds in its patch tokens."""
    return readings.segmentation


@pytest.fixture
def generated(readings: Readings) -> Generated:
    """Images that are drawn from the final CLS token of each model."""
    return readings.generated()


@pytest.fixture
def detection(readings: Readings, source: str) -> Detection:
    """Average precision on frozen features, in a profile or as the paper prints it."""
    if source == "published":
        return PrintedDetection(readings.published("detect", "box and mask AP of Mask R-CNN on frozen features of each model"))
    return MeasuredDetection(readings.detection, readings.family("random"), readings.detectors())


@pytest.fixture
def detection_end_to_end(readings: Readings, source: str) -> Detection:
    """Average precision with the backbone trained end to end, in a profile or as the paper prints it."""
    if source == "published":
        what = "box and mask AP of Mask R-CNN with each model fine-tuned end to end"
        return PrintedDetection(readings.published("detect", what), end_to_end=True)
    return MeasuredDetection(readings.detection, readings.family("random"), readings.detectors(), END_TO_END)


@pytest.fixture
def kinship(readings: Readings, model: str) -> Callable[[Measure], Kinship]:
    """A measure to the kinship of the judged model by it."""
    return partial(readings.kinship, model)


@pytest.fixture
def finding(readings: Readings, model: str) -> Callable[..., Decision]:
    """A model's number, as a function of its name, and the family with the higher number, to how the model behaves."""
    return partial(readings.finding, model)


@pytest.fixture
def measures(readings: Readings, model: str) -> dict[str, Measure]:
    """The measures by which the judged model can be compared with the paper's methods, by name."""
    return readings.measures(model)


@pytest.fixture
def sweep(readings: Readings) -> Sweep:
    """CKA by minibatch size and number of images."""
    return readings.sweep()


@pytest.fixture
def published(readings: Readings) -> Callable[[str, str], Published]:
    """A stage's name and what it would measure to what the paper prints of it. MISSING where the source is a profile."""
    return readings.published
