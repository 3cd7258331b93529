"""Appendix A.2: the observations hold on models that were pre-trained anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.evidence.claim import claim, undecided
from harness.evidence.decide import Decision, State, exceeds
from harness.evidence.estimate import Estimate
from harness.evidence.panel import FEWEST_UNITS
from harness.evidence.resampling import DRAWS, SEED


@claim(
    "replicates",
    title="The findings hold on replicates",
    quantity="of the findings",
    where="A.2",
    statement="The observations also hold on replicates of the models, which were pre-trained anew.",
    reading="share of the main findings about methods that read the same verdict on each pre-training run; without those that "
    "are not measured or not calibrated",
    margin=0.5,
    about="artifacts",
    published="none",
)
def test_findings_hold_on_replicates(findings: Mapping[str, Sequence[State]], margin: float) -> Decision:
    if len(findings) < FEWEST_UNITS:
        few = f"{len(findings)} main findings can be decided on each of several runs, needed {FEWEST_UNITS}"
        return undecided(State.UNCALIBRATED, f"{few}: {', '.join(findings) or 'none'}")
    mixed = [id for id, states in findings.items() if len(set(states)) > 1]
    same = np.array([float(id not in mixed) for id in findings])
    decision = exceeds(Estimate.of_mean(same, seed=SEED, unit="findings", key=" ".join(findings), draws=DRAWS), margin)
    return replace(decision, reason=f"{decision.reason}; runs disagree on {', '.join(mixed) or 'none'}")
