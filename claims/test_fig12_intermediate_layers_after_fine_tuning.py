"""Fig. 12 and section 3.3: fine-tuning gathers in the final CLS token what only intermediate layers of MAE held before."""

from __future__ import annotations

from harness.evidence.claim import claim
from harness.evidence.decide import Decision, equivalent, exceeds
from harness.readings.probes import Probes, gain

# What an intermediate layer has to give MAE before fine-tuning (inter-mae).
HELPED = 1.0


@claim(
    "ft-inter-null",
    title="Fine-tuned MAE needs no other layer",
    quantity="points",
    main=True,
    where="3.3, Fig. 12",
    statement="Unlike a pre-trained MAE, intermediate features provide no additional information for a fine-tuned MAE.",
    reading="linear probe on the final and the best other block, chosen on a hold-out, minus the final alone: within the "
    "margin of 0 for fine-tuned MAE, and above 1 point for pre-trained MAE",
    margin=0.5,
)
def test_an_intermediate_layer_adds_nothing_to_fine_tuned_rec(probes: Probes, margin: float) -> list[Decision]:
    return [equivalent(gain(probes, "mae_ft", "pair"), margin), exceeds(gain(probes, "mae", "pair"), HELPED)]
