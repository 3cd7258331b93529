"""Fig. 7 and A7, sections 3.2 and 3.3: invariance to horizontal flips, and what it has to do with classification.

The paper samples images from a diffusion model that is given a representation (RCDM). The second measures ask how far
the representation itself moves when its image is mirrored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.evidence.claim import claim, undecided
from harness.evidence.decide import Decision, State, below, exceeds
from harness.readings.invariance import Invariance
from harness.readings.probes import Probes, difference
from harness.readings.samples import Generated

# Features that do not tell left from right leave both ways to chance, about half of the samples each.
LEAST, MOST = 0.3, 0.7
KEPT = 0.1
# The intervention that flip-cause needs.
WITHOUT_FLIPS = "moco_v3_no_flip"
RATIO = "squared distance of the final CLS token to that of the mirror image, over that to another image"
SHARE = "share of samples nearer to the mirror image of the source than to the source"
FAITHFUL = (
    "; UNCALIBRATED where samples from features of the supervised network are not of the class that it sees, and where samples "
    "keep much less of the place in x than a linear regression on the features finds"
)

Invariances = Callable[[str], Invariance]


@claim(
    "rcdm-je",
    title="JE features are invariant to flips",
    quantity="share",
    main=True,
    where="3.2, Fig. 7",
    statement="Samples conditioned on JE features show the object in the orientation of the source and in the opposite one.",
    reading=f"{SHARE}: above {LEAST} and below {MOST} for both JE models{FAITHFUL}",
)
def test_je_samples_show_both_orientations(generated: Generated, je: Sequence[str]) -> list[Decision]:
    if reason := generated.unfaithful(je):
        return [undecided(State.UNCALIBRATED, reason)]
    shares = [generated.mirrored(model) for model in je]
    return [*(exceeds(share, LEAST) for share in shares), *(below(share, MOST) for share in shares)]


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
    reading=f"{SHARE}: below {KEPT} for MAE, and of each JE model minus MAE above the margin{FAITHFUL}",
    margin=0.2,
    asks="difference",
)
def test_mae_samples_keep_the_orientation(
    generated: Generated, je: Sequence[str], rec: Sequence[str], margin: float
) -> list[Decision]:
    if reason := generated.unfaithful([*je, *rec]):
        return [undecided(State.UNCALIBRATED, reason)]
    of = {model: generated.mirrored(model) for model in (*je, *rec)}
    kept = [below(of[model], KEPT) for model in rec]
    return [*kept, *(exceeds(of[other] - of[one], margin) for one in rec for other in je)]


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
    reading=f"{SHARE}: of fine-tuned minus of pre-trained MAE{FAITHFUL}",
    margin=0.2,
)
def test_samples_of_fine_tuned_mae_show_both_orientations(generated: Generated, margin: float) -> Decision:
    if reason := generated.unfaithful(["mae", "mae_ft"]):
        return undecided(State.UNCALIBRATED, reason)
    return exceeds(generated.mirrored("mae_ft") - generated.mirrored("mae"), margin)


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
    quantity="points",
    where="3.2",
    statement="Being invariant to horizontal flips contributes to the better linear probe transfer of JE representations.",
    reading="linear probe on the final CLS token of MoCo-v3 minus that of MoCo-v3 trained on views that are never mirrored; "
    "the paper shows both facts side by side and intervenes on neither",
    margin=1.0,
    published="none",
    asks="difference",
)
def test_flip_invariance_helps_the_probe(probes: Probes, margin: float) -> Decision:
    return exceeds(difference(probes, ("moco_v3", "final"), (WITHOUT_FLIPS, "final")), margin)


@claim(
    "flip-cause/features",
    title="Mirrored views make MoCo-v3 invariant",
    quantity="of the distance",
    where="3.2",
    statement="It is the mirrored views that make MoCo-v3's features invariant to horizontal flips.",
    reading=f"{RATIO}: of MoCo-v3 trained on views that are never mirrored minus MoCo-v3",
    margin=0.2,
    published="none",
    asks="difference",
)
def test_mirrored_views_make_features_invariant(invariance: Invariances, margin: float) -> Decision:
    return exceeds(invariance(WITHOUT_FLIPS).distance("flip") - invariance("moco_v3").distance("flip"), margin)
