"""Fig. 3 and section 3.1: the objective decides what is learnt more than the architecture does.

Networks of different kinds have but their blocks' outputs in common: these are compared, in twelve steps of the depth. What
holds for an untrained CNN in the place of the trained one is no effect of the objective: each rule is controlled by that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.evidence.again import again
from harness.evidence.claim import claim
from harness.evidence.decide import Decision, all_of, controlled, exceeds
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import BLOCKS
from harness.readings.pair import Pairs

# A JE vision transformer, and the convolutional network that the paper has of its objective.
CNN = {"moco_v3": "moco_v3_resnet50", "dino": "dino_resnet50"}
REC_CNN = "fcmae"
# Of each its architecture without training.
UNTRAINED = {"moco_v3_resnet50": "random_resnet50", "dino_resnet50": "random_resnet50", "fcmae": "random_convnextv2"}
NAMES = {"moco_v3": "MoCo-v3", "dino": "DINO"}
# The quarter of the distances that is nearest, and that is farthest.
NEAR, FAR = (0, 1, 2), (9, 10, 11)
CONTROL = "; INCONCLUSIVE where it holds for an untrained CNN too"
# By how much a REC pair across architectures must be more alike, far apart, than one across objectives.
APART = 0.05


def _id(name: str, je: str) -> str:
    return name if je == "moco_v3" else f"{name}-{je}"


def _blocks(cka: Pairs, a: str, b: str, distances: tuple[int, ...]) -> Estimate:
    return cka(a, b).at_distances(distances, types=["block"])


def _across(cka: Pairs, cnn: str, je: str, margin: float) -> list[Decision]:
    """The CNN and the JE vision transformer are more alike than that and MAE, at each distance."""
    return [exceeds(_blocks(cka, cnn, je, (d,)) - _blocks(cka, je, "mae", (d,)), margin) for d in BLOCKS]


def _far(cka: Pairs, cnn: str, je: str, margin: float) -> list[Decision]:
    """Far apart the CNN and MAE are more alike than the JE vision transformer and MAE, and fall by less from near to there."""
    own, other = ([_blocks(cka, a, "mae", distances) for distances in (NEAR, FAR)] for a in (cnn, je))
    return [exceeds(own[1] - other[1], margin), exceeds((own[1] - own[0]) - (other[1] - other[0]), 0.0)]


def _controlled(rule: Callable[[str], list[Decision]], cnn: str) -> Decision:
    """A rule for the trained CNN, unless it holds for the untrained one too."""
    return controlled(all_of(rule(cnn)), all_of(rule(UNTRAINED[cnn])), "untrained CNNs")


def _je(je: str) -> Callable[..., Any]:
    @claim(
        _id("arch-je", je),
        title=f"{NAMES[je]} CNN and ViT alike, unlike MAE",
        quantity="CKA",
        where="3.1, Fig. 3a",
        statement=f"A CNN and a ViT of a JE objective ({NAMES[je]}) are more alike than the ViT and MAE, near and far.",
        reading=f"CKA of block outputs at each distance of 0 to 11 blocks: ResNet and ViT of {NAMES[je]} minus that ViT "
        f"and MAE{CONTROL}",
        margin=0.0,
        asks="difference",
    )
    def test(cka: Pairs, margin: float) -> Decision:
        return _controlled(lambda cnn: _across(cka, cnn, je, margin), CNN[je])

    return test


def _rec_near(je: str) -> Callable[..., Any]:
    @claim(
        _id("arch-rec-near", je),
        title=f"REC CNN-ViT near as {NAMES[je]} and MAE",
        quantity="CKA",
        where="3.1, Fig. 3b",
        statement=f"Near each other, a REC CNN and a REC ViT are about as alike as {NAMES[je]} and MAE ViTs.",
        reading=f"CKA of block outputs at most 2 blocks apart: ConvNeXt-V2 (FCMAE) with MAE over {NAMES[je]} with MAE, between "
        f"a half and two: the one minus half of the other, either way{CONTROL}",
        margin=0.0,
    )
    def test(cka: Pairs, margin: float) -> Decision:
        def alike(cnn: str) -> list[Decision]:
            own, other = _blocks(cka, cnn, "mae", NEAR), _blocks(cka, je, "mae", NEAR)
            return [exceeds(own - other / 2, margin), exceeds(other - own / 2, margin)]

        return _controlled(alike, REC_CNN)

    return test


def _rec_far(je: str) -> Callable[..., Any]:
    @claim(
        _id("arch-rec-far", je),
        title=f"REC CNN-ViT stay alike, {NAMES[je]}-MAE not",
        quantity="CKA",
        where="3.1, Fig. 3b",
        statement=f"With distance a REC CNN and a REC ViT stay alike, while {NAMES[je]} and MAE ViTs do not.",
        reading=f"CKA of block outputs at least 9 blocks apart: ConvNeXt-V2 (FCMAE) with MAE minus {NAMES[je]} with MAE, above "
        f"the margin; and the former falls by less from at most 2 blocks apart to there{CONTROL}",
        margin=APART,
        asks="difference",
    )
    def test(cka: Pairs, margin: float) -> Decision:
        return _controlled(lambda cnn: _far(cka, cnn, je, margin), REC_CNN)

    return test


def _over(je: str) -> Callable[..., Any]:
    @claim(
        _id("obj-over-arch", je),
        title=f"Objective over architecture ({NAMES[je]})",
        quantity="CKA",
        main=je == "moco_v3",
        where="abstract, Fig. 3",
        statement="Models trained with similar objectives learn similar features even across architectures "
        f"({NAMES[je]}, and MAE with FCMAE).",
        reading=f"both of {_id('arch-je', je)}, by direction alone, and {_id('arch-rec-far', je)}, by the margin",
        margin=APART,
        asks="difference",
    )
    def test(cka: Pairs, margin: float) -> Decision:
        def both(je_cnn: str, rec_cnn: str) -> Decision:
            return all_of([*_across(cka, je_cnn, je, 0.0), *_far(cka, rec_cnn, je, margin)])

        return controlled(both(CNN[je], REC_CNN), both(UNTRAINED[CNN[je]], UNTRAINED[REC_CNN]), "untrained CNNs")

    return test


test_je_is_alike_across_architectures = _je("moco_v3")
test_dino_is_alike_across_architectures = _je("dino")
test_rec_is_as_near_across_architectures = _rec_near("moco_v3")
test_rec_is_as_near_across_architectures_as_dino = _rec_near("dino")
test_rec_stays_alike_across_architectures = _rec_far("moco_v3")
test_rec_stays_alike_across_architectures_unlike_dino = _rec_far("dino")
test_the_objective_matters_more_than_the_architecture = _over("moco_v3")
test_the_objective_of_dino_matters_more_than_the_architecture = _over("dino")

test_je_is_alike_across_architectures_beyond_the_pixels = again(test_je_is_alike_across_architectures, "deconfounded")
test_dino_is_alike_across_architectures_beyond_the_pixels = again(test_dino_is_alike_across_architectures, "deconfounded")
test_rec_is_as_near_across_beyond_the_pixels = again(test_rec_is_as_near_across_architectures, "deconfounded")
test_rec_is_as_near_across_as_dino_beyond_the_pixels = again(test_rec_is_as_near_across_architectures_as_dino, "deconfounded")
test_rec_stays_alike_beyond_the_pixels = again(test_rec_stays_alike_across_architectures, "deconfounded")
test_rec_stays_alike_unlike_dino_beyond_the_pixels = again(
    test_rec_stays_alike_across_architectures_unlike_dino, "deconfounded"
)
test_the_objective_matters_more_beyond_the_pixels = again(test_the_objective_matters_more_than_the_architecture, "deconfounded")
test_the_objective_of_dino_matters_more_beyond_the_pixels = again(
    test_the_objective_of_dino_matters_more_than_the_architecture, "deconfounded"
)
