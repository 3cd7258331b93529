"""Fig. 4 and section 3.1: where along the depth a model holds class information, in CLS and outside it.

Accuracies are those of 20 nearest neighbours, in percentage points; GAP is the mean of the patch tokens, without CLS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.artifacts.tables import TOKENS
from harness.evidence.claim import claim
from harness.evidence.decide import Decision, equivalent, exceeds
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import HI
from harness.readings.accuracy import Accuracy

Knn = Callable[[str], Accuracy]
LAST = HI[-1]
# Points within which two accuracies are called equal.
TOGETHER = 2.0


@claim(
    "knn-diverge",
    title="MAE falls behind MoCo-v3 after block 3",
    quantity="points",
    where="3.1, Fig. 4",
    statement="The class separability of MAE starts to diverge from MoCo-v3 after the third transformer block.",
    reading="MoCo-v3 minus MAE, for CLS and for GAP: within 2 points of 0 at each of blocks 0-2, above 2 at each of 3-11, and "
    "larger at block 11 than at block 3",
    margin=2.0,
    published="plot",
    asks="difference",
)
def test_rec_leaves_je_after_the_third_block(knn: Knn, margin: float) -> list[Decision]:
    je, rec = knn("moco_v3"), knn("mae")

    def parts(token: str) -> list[Decision]:
        gap = [je.at(token, block) - rec.at(token, block) for block in range(12)]
        together, apart = [equivalent(g, TOGETHER) for g in gap[:3]], [exceeds(g, margin) for g in gap[3:]]
        return [*together, *apart, exceeds(gap[LAST] - gap[3], 0)]

    return [part for token in TOKENS for part in parts(token)]


@claim(
    "knn-decline",
    title="MAE loses class information with depth",
    quantity="points",
    main=True,
    where="3.1, Fig. 4",
    statement="Class separability starts to decrease in MAEs after the first few ViT layers.",
    reading="best of blocks 0-3 minus block 11, for CLS and for GAP; the best block is chosen on the even images and judged on "
    "the odd ones, so that it is not better by choice alone",
    margin=1.0,
    published="plot",
)
def test_rec_separability_falls_after_the_first_blocks(knn: Knn, rec: Sequence[str], margin: float) -> list[Decision]:
    return [exceeds(knn(model).fall(token), margin) for model in rec for token in TOKENS]


@claim(
    "knn-je-full",
    title="JE 20-NN equals the linear probe's",
    quantity="points",
    where="3.1, Fig. 4",
    statement="The gap between the 20-NN accuracy of the probe and of the final ViT block is negligible in JE models.",
    reading="20-NN on the final CLS token (after the final norm) minus 20-NN on a linear probe's logits, each JE model",
    margin=1.0,
    published="plot",
)
def test_the_final_je_block_holds_what_the_probe_finds(knn: Knn, je: Sequence[str], margin: float) -> list[Decision]:
    return [equivalent(knn(model).final("cls") - knn(model).probe_neighbours(), margin) for model in je]


@claim(
    "knn-cls",
    title="JE gathers class information in CLS",
    quantity="points",
    main=True,
    where="3.1, Fig. 4",
    statement="Class information accumulates in the CLS token in the final blocks of JE ViTs but not of REC ViTs.",
    reading="CLS minus GAP, mean over blocks 9-11: each JE model's minus MAE's",
    margin=2.0,
    published="plot",
    asks="difference",
)
def test_class_information_gathers_in_cls_in_je_alone(
    knn: Knn, je: Sequence[str], rec: Sequence[str], margin: float
) -> list[Decision]:
    return [exceeds(knn(one).gathered() - knn(other).gathered(), margin) for one in je for other in rec]


@claim(
    "knn-gap-closer",
    title="The JE-REC gap is smaller beside CLS",
    quantity="points",
    where="3.1, Fig. 4",
    statement="Outside the class token there is less of a class information gap between JE and REC in the last layers.",
    reading="JE minus MAE at block 11: the difference in CLS minus the difference in GAP, each JE model",
    margin=0.0,
    published="plot",
    asks="difference",
)
def test_je_and_rec_are_closer_outside_cls(knn: Knn, je: Sequence[str], rec: Sequence[str], margin: float) -> list[Decision]:
    def gap(one: str, other: str, token: str) -> Estimate:
        return knn(one).at(token, LAST) - knn(other).at(token, LAST)

    return [exceeds(gap(one, other, "cls") - gap(one, other, "gap"), margin) for one in je for other in rec]
