"""Fig. 7 and A7, sections 3.2 and 3.3: invariance to horizontal flips, and what it has to do with classification.

The paper samples images from a diffusion model that is given a representation (RCDM). Without such a model here, the second
measures ask the representation itself: how far it moves when its image is mirrored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.evidence.claim import claim, undecided
from harness.evidence.decide import Decision, State, below, exceeds
from harness.readings.invariance import Invariance

RATIO = "squared distance of the final CLS token to that of the mirror image, over that to another image"
SAMPLES = "samples of a diffusion model conditioned on the representation are not measured at any profile"

Invariances = Callable[[str], Invariance]


@claim(
    "rcdm-je",
    title="JE features are invariant to flips",
    quantity="share",
    main=True,
    where="3.2, Fig. 7",
    statement="Samples conditioned on JE features show the object in the orientation of the source and in the opposite one.",
    reading="share of samples nearer to the mirrored source than to the source, in [0.3, 0.7] for both JE models",
)
def test_je_samples_show_both_orientations() -> Decision:
    return undecided(State.MISSING, SAMPLES)


@claim(
    "rcdm-je/features",
    title="JE features hardly move under a flip",
    quantity="of the distance",
    where="3.2, Fig. 7",
    statement="JE features are invariant to horizontal flips.",
    reading=f"{RATIO}: nearer to 0 (invariant) than to 1 for both JE models",
    margin=0.5,
)
def test_je_features_are_invariant_to_flips(invariance: Invariances, je: Sequence[str], margin: float) -> list[Decision]:
    return [below(invariance(model).distance("flip"), margin) for model in je]


@claim(
    "rcdm-mae",
    title="MAE features keep the orientation",
    quantity="share",
    main=True,
    where="3.2, Fig. 7",
    statement="MAE lacks flip invariance: its samples show the object in the orientation of the source.",
    reading="share of samples nearer to the mirrored source: below 0.1 for MAE, and more than 0.2 lower than of each JE model",
)
def test_mae_samples_keep_the_orientation() -> Decision:
    return undecided(State.MISSING, SAMPLES)


@claim(
    "rcdm-mae/features",
    title="MAE features move more under a flip",
    quantity="of the distance",
    where="3.2, Fig. 7",
    statement="MAE features lack the flip invariance of JE features.",
    reading=f"{RATIO}: of MAE minus each JE model",
    margin=0.2,
    asks="difference",
)
def test_mae_features_are_less_invariant_to_flips(
    invariance: Invariances, je: Sequence[str], rec: Sequence[str], margin: float
) -> list[Decision]:
    of = {model: invariance(model).distance("flip") for model in (*je, *rec)}
    return [exceeds(of[one] - of[other], margin) for one in rec for other in je]


@claim(
    "rcdm-ft",
    title="Fine-tuned MAE is invariant to flips",
    quantity="share",
    where="3.3, Fig. A7",
    statement="Fine-tuning imparts flip invariance to MAE.",
    reading="share of samples nearer to the mirrored source: of fine-tuned minus of pre-trained MAE, above 0.2",
)
def test_samples_of_fine_tuned_mae_show_both_orientations() -> Decision:
    return undecided(State.MISSING, SAMPLES)


@claim(
    "rcdm-ft/features",
    title="Fine-tuned MAE moves less under a flip",
    quantity="of the distance",
    where="3.3, Fig. A7",
    statement="Fine-tuning makes MAE's features invariant to horizontal flips.",
    reading=f"{RATIO}: of pre-trained minus of fine-tuned MAE",
    margin=0.2,
)
def test_fine_tuning_makes_mae_invariant_to_flips(invariance: Invariances, margin: float) -> Decision:
    return exceeds(invariance("mae").distance("flip") - invariance("mae_ft").distance("flip"), margin)


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
