"""Fig. 7 and section 3.2: what flip invariance has to do with classification."""

from __future__ import annotations

from harness.evidence.claim import claim, undecided
from harness.evidence.decide import Decision, State


@claim(
    "flip-cause",
    title="Flip invariance helps JE's linear probe",
    where="3.2",
    statement="Being invariant to horizontal flips contributes to the better linear probe transfer of JE representations.",
    reading="a cause needs an intervention: the same model with and without the invariance",
    published="none",
)
def test_flip_invariance_helps_the_probe() -> Decision:
    return undecided(State.NO_EVIDENCE, "the paper shows both facts side by side and intervenes on neither")
