"""Findings of the paper about single models: whether the judged model does as JE models do, as REC models do, or as neither.

The last claim, `family`, combines them with the measures of similarity.

Decided with --model NAME, and for nothing else. The rules are in harness/readings/finding.py and kinship.py. Accuracies and
intersections over union are in percent; distances are relative to the distance between two images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from harness.artifacts.errors import MissingArtifact
from harness.evidence.claim import claim, undecided
from harness.evidence.decide import Decision, State
from harness.evidence.estimate import Estimate
from harness.evidence.measure import Measure
from harness.readings.accuracy import Accuracy
from harness.readings.invariance import Invariance
from harness.readings.kinship import THIRDS, Kinship, verdict
from harness.readings.probes import Probes, gain
from harness.readings.segmentation import Segmentation


class Evidence(NamedTuple):
    """A model's name to its 20-NN accuracy, its invariance and its segmentation, and the probes of all models."""

    knn: Callable[[str], Accuracy]
    probes: Probes
    invariance: Callable[[str], Invariance]
    segmentation: Callable[[str], Segmentation]


JudgeFinding = Callable[[Callable[[str], Estimate], State], Decision]
Ask = Callable[[str], Decision]


def gained(features: str) -> Callable[[Evidence, str], Estimate]:
    """What a probe of these features has over the linear one on the final CLS token."""
    return lambda of, model: gain(of.probes, model, features)


# The number of a model, and the family in which it is higher by the paper.
FINDINGS: dict[str, tuple[Callable[[Evidence, str], Estimate], State]] = {
    "decline": (lambda of, model: of.knn(model).fall("cls"), State.REC_LIKE),
    "gathering": (lambda of, model: of.knn(model).gathered(), State.JE_LIKE),
    "hidden": (lambda of, model: of.knn(model).probe_neighbours() - of.knn(model).final("cls"), State.REC_LIKE),
    "flips": (lambda of, model: of.invariance(model).distance("flip"), State.REC_LIKE),
    "small-objects": (lambda of, model: of.segmentation(model).iou("small") * 100, State.REC_LIKE),
    "deeper": (gained("depth3"), State.REC_LIKE),
    "intermediate": (gained("pair"), State.REC_LIKE),
    "every-layer": (gained("all"), State.REC_LIKE),
}


@pytest.fixture
def ask(
    knn: Callable[[str], Accuracy],
    probes: Probes,
    invariance: Callable[[str], Invariance],
    segmentation: Callable[[str], Segmentation],
    finding: JudgeFinding,
) -> Ask:
    """The name of a finding to the family whose models do as the judged model does."""
    of = Evidence(knn, probes, invariance, segmentation)

    def answer(name: str) -> Decision:
        value, higher = FINDINGS[name]
        return finding(lambda model: value(of, model), higher)

    return answer


# Each finding in a few words.
_SHORT = {
    "decline": "Class information falls with depth",
    "gathering": "Class information gathers in CLS",
    "hidden": "A probe finds more than 20-NN",
    "flips": "Features move under a flip",
    "small-objects": "Patch tokens show small objects",
    "deeper": "A deeper probe gains",
    "intermediate": "An intermediate layer helps the probe",
    "every-layer": "All layers together help the probe",
}


def _finding(id: str, where: str, statement: str, reading: str) -> Callable[..., Any]:
    return claim(
        id,
        where=where,
        statement=statement,
        reading=reading,
        about="model",
        published="none",
        title=_SHORT[id],
        quantity="of the distance" if id == "flips" else "points",
    )


@_finding(
    "decline",
    "3.1, Fig. 4",
    "Whether class separability decreases after the first few blocks, as in REC models.",
    "20-NN on CLS: best of blocks 0-3 minus block 11, the best chosen on the even images and judged on the odd ones",
)
def test_separability_falls_after_the_first_blocks(model: str, ask: Ask) -> Decision:
    return ask("decline")


@_finding(
    "gathering",
    "3.1, Fig. 4",
    "Whether class information accumulates in the CLS token in the final blocks, as in JE models.",
    "20-NN on CLS minus on GAP, mean over blocks 9-11",
)
def test_class_information_gathers_in_cls(model: str, ask: Ask) -> Decision:
    return ask("gathering")


@_finding(
    "hidden",
    "3.1, Fig. 4",
    "Whether a linear probe finds what neighbours in the final CLS token do not show, as in REC models.",
    "20-NN on a linear probe's logits minus on the final CLS token",
)
def test_a_probe_finds_what_neighbours_do_not_show(model: str, ask: Ask) -> Decision:
    return ask("hidden")


@_finding(
    "flips",
    "3.2, Fig. 7",
    "Whether features move when the image is mirrored, as in REC models.",
    "squared distance of the final CLS token to that of the mirror image, over that to another image",
)
def test_features_move_under_a_flip(model: str, ask: Ask) -> Decision:
    return ask("flips")


@_finding(
    "small-objects",
    "3.2, Table 2",
    "Whether small objects can be read out of the final patch tokens, as in REC models.",
    "intersection over union of small objects' masks: logistic regression on block 11's patch tokens, after the final norm",
)
def test_patch_tokens_show_small_objects(model: str, ask: Ask) -> Decision:
    return ask("small-objects")


@_finding(
    "deeper",
    "3.2, Fig. 5",
    "Whether a probe of three layers finds more than a linear one, as in REC models.",
    "probe of depth 3 minus depth 1 on the final CLS token",
)
def test_a_deeper_probe_finds_more(model: str, ask: Ask) -> Decision:
    return ask("deeper")


@_finding(
    "intermediate",
    "3.2, Table 1, Fig. 6",
    "Whether an intermediate layer beside the final one helps a linear probe, as in REC models.",
    "linear probe on the final and the best other block, chosen on a hold-out, minus the final alone",
)
def test_an_intermediate_layer_helps(model: str, ask: Ask) -> Decision:
    return ask("intermediate")


@_finding(
    "every-layer",
    "3.2, Table 1",
    "Whether all intermediate layers beside the final one help a linear probe, as in REC models.",
    "linear probe on all blocks minus the final one",
)
def test_all_layers_help(model: str, ask: Ask) -> Decision:
    return ask("every-layer")


@claim(
    "family",
    title="Joint embedding or reconstruction",
    main=True,
    where="Kinship",
    statement="Of which family the model is, by all measures and findings together.",
    reading="what more than half of the measures and findings say that can be read, if no measure says the opposite of any "
    "third of the depth",
    about="model",
    published="none",
)
def test_the_family(
    model: str,
    measures: dict[str, Measure],
    kinship: Callable[[Measure], Kinship],
    knn: Callable[[str], Accuracy],
    ask: Ask,
) -> Decision:
    kin = {name: kinship(measure) for name, measure in measures.items()}
    thirds = {f"{name}, {third}": one.of(model, blocks) for name, one in kin.items() for third, blocks in THIRDS.items()}
    found = verdict({name: one.of(model) for name, one in kin.items()}, thirds, {name: _asked(ask, name) for name in FINDINGS})
    measure, first = next(iter(kin.items()))
    near = ", ".join(f"{method} {value:.2f}" for method, value in first.by_method(model))
    own = knn(model)
    token = own.tokens[0]
    seen = f"{measure} with {near}; 20-NN of its final {token.upper()} features {own.final(token).value:.1f} %"
    return replace(found, reason=f"{found.reason}; {seen}")


def _asked(ask: Ask, name: str) -> Decision:
    """A finding without its artifact is told as missing, and leaves the family to the others."""
    try:
        return ask(name)
    except MissingArtifact as error:
        return undecided(State.MISSING, str(error))
