"""Fig. 11 and section 3.3: how the parameters of attention move in fine-tuning, straight or not, and how far.

Net displacement over the sum of the epochs' steps, E in (0, 1], as the text defines it. The text then says that MAE's relative
displacement is lower, which only 1/E can be (errata): claimed is what the caption says, a straighter way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.evidence.claim import claim
from harness.evidence.decide import Decision, exceeds
from harness.readings.finetune_path import FinetunePath

Paths = Callable[[str], FinetunePath]


@claim(
    "path",
    title="MAE fine-tunes along a straighter path",
    quantity="efficiency",
    main=True,
    where="3.3, Fig. 11b",
    statement="MAE fine-tuning follows a more efficient path, and attention parameters converge more directly to new values.",
    reading="net displacement of attention over the sum of its steps after each epoch, mean over blocks: MAE minus each JE "
    "model",
    margin=0.0,
    published="plot",
    asks="difference",
)
def test_attention_of_rec_goes_straighter(
    finetune_path: Paths, je: Sequence[str], rec: Sequence[str], margin: float
) -> list[Decision]:
    efficiency = {model: finetune_path(model).efficiency() for model in (*rec, *je)}
    return [exceeds(efficiency[one] - efficiency[other], margin) for one in rec for other in je]


@claim(
    "je-still",
    title="JE attention moves less",
    quantity="share of norm",
    where="3.3, Fig. 11b",
    statement="JE attention layers remain relatively stationary in the parameter space.",
    reading="net displacement of attention over its norm before fine-tuning, mean over blocks: MAE minus each JE model",
    margin=0.0,
    published="none",
    asks="difference",
)
def test_attention_of_je_moves_less(
    finetune_path: Paths, je: Sequence[str], rec: Sequence[str], margin: float
) -> list[Decision]:
    return [
        exceeds(finetune_path(one).displacement() - finetune_path(other).displacement(), margin) for one in rec for other in je
    ]
