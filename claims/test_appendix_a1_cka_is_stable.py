"""Appendix A.1, Fig. A1: CKA does not depend on how many images it is measured with."""

from __future__ import annotations

from harness.evidence.claim import claim
from harness.evidence.decide import Decision
from harness.evidence.greatest import greatest_below
from harness.readings.sweep import Sweep


@claim(
    "cka-stable",
    title="CKA is stable in batch size and images",
    quantity="CKA",
    where="A.1, Fig. A1",
    statement="Minibatch CKA shows no noticeable differences across minibatch sizes and numbers of examples.",
    reading="absolute change against the smallest minibatch and against the fewest images, of the mean over disjoint sets of "
    "images: below the margin for each size and random layer; refuted if the change that is largest on a quarter of the sets "
    "is too large on the rest",
    margin=0.02,
    about="artifacts",
    published="plot",
)
def test_cka_does_not_depend_on_sample_sizes(sweep: Sweep, margin: float) -> Decision:
    choose, judge = sweep.split()
    return greatest_below(sweep.each_change(), choose.each_change(), judge.each_change(), margin)
