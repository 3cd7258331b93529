"""Fig. 3 and section 3.1: the objective decides what is learnt more than the architecture does.

Networks of different kinds have but their blocks' outputs in common: these are compared, in twelve steps of the depth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.evidence.again import again
from harness.evidence.claim import claim
from harness.evidence.decide import Decision, exceeds
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import BLOCKS
from harness.readings.pair import Pairs

# A JE vision transformer, and the convolutional network that the paper has of its objective.
CNN = {"moco_v3": "moco_v3_resnet50", "dino": "dino_resnet50"}
NAMES = {"moco_v3": "MoCo-v3", "dino": "DINO"}
# The quarter of the distances that is nearest, and that is farthest.
NEAR, FAR = (0, 1, 2), (9, 10, 11)
# By how much a REC pair across architectures must be more alike, far apart, than one across objectives.
APART = 0.05


def _id(name: str, je: str) -> str:
    return name if je == "moco_v3" else f"{name}-{je}"


def _blocks(cka: Pairs, a: str, b: str, distances: tuple[int, ...]) -> Estimate:
    return cka(a, b).at_distances(distances, types=["block"])


def _je(je: str) -> Callable[..., Any]:
    @claim(
        _id("arch-je", je),
        title=f"{NAMES[je]} CNN and ViT alike, unlike MAE",
        quantity="CKA",
        where="3.1, Fig. 3a",
        statement=f"A CNN and a ViT of a JE objective ({NAMES[je]}) are more alike than the ViT and MAE, near and far.",
        reading=f"CKA of block outputs at each distance of 0 to 11 blocks: ResNet and ViT of {NAMES[je]} minus that ViT "
        "and MAE",
        margin=0.0,
        asks="difference",
    )
    def test(cka: Pairs, margin: float) -> list[Decision]:
        gaps = [_blocks(cka, CNN[je], je, (d,)) - _blocks(cka, je, "mae", (d,)) for d in BLOCKS]
        return [exceeds(gap, margin) for gap in gaps]

    return test


def _rec_near(je: str) -> Callable[..., Any]:
    @claim(
        _id("arch-rec-near", je),
        title=f"REC CNN-ViT near as {NAMES[je]} and MAE",
        quantity="CKA",
        where="3.1, Fig. 3b",
        statement=f"Near each other, a REC CNN and a REC ViT are about as alike as {NAMES[je]} and MAE ViTs.",
        reading=f"CKA of block outputs at most 2 blocks apart: ConvNeXt-V2 (FCMAE) with MAE over {NAMES[je]} with MAE, between "
        "a half and two: the one minus half of the other, either way",
        margin=0.0,
    )
    def test(cka: Pairs, margin: float) -> list[Decision]:
        own, other = _blocks(cka, "fcmae", "mae", NEAR), _blocks(cka, je, "mae", NEAR)
        return [exceeds(own - other / 2, margin), exceeds(other - own / 2, margin)]

    return test


def _rec_far(je: str) -> Callable[..., Any]:
    @claim(
        _id("arch-rec-far", je),
        title=f"REC CNN-ViT stay alike, {NAMES[je]}-MAE not",
        quantity="CKA",
        where="3.1, Fig. 3b",
        statement=f"With distance a REC CNN and a REC ViT stay alike, while {NAMES[je]} and MAE ViTs do not.",
        reading=f"CKA of block outputs at least 9 blocks apart: ConvNeXt-V2 (FCMAE) with MAE minus {NAMES[je]} with MAE, above "
        "the margin; and the former falls by less from at most 2 blocks apart to there",
        margin=APART,
        asks="difference",
    )
    def test(cka: Pairs, margin: float) -> list[Decision]:
        own, other = ([_blocks(cka, a, "mae", distances) for distances in (NEAR, FAR)] for a in ("fcmae", je))
        return [exceeds(own[1] - other[1], margin), exceeds((own[1] - own[0]) - (other[1] - other[0]), 0.0)]

    return test


def _over(je: str) -> Callable[..., Any]:
    near, far = _je(je), _rec_far(je)

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
    def test(cka: Pairs, margin: float) -> list[Decision]:
        return [*near(cka, 0.0), *far(cka, margin)]

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
