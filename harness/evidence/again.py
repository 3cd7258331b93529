"""The same claim by a second measure of similarity, so that no verdict rests on one measure alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from harness.evidence.claim import Claimed, claim
from harness.evidence.decide import Decision

Second = Literal["deconfounded", "mutual", "cls", "gap"]

READINGS: dict[Second, str] = {
    "deconfounded": "by CKA net of the similarity of the pixels (Cui et al., 2022)",
    "mutual": "by the share of common nearest neighbours (Huh et al., 2024), mean of CLS and GAP features after each block",
    "cls": "by debiased CKA of the CLS token after each block",
    "gap": "by debiased CKA of the mean patch token after each block",
}

# What the estimates of each measure are measured in.
QUANTITIES: dict[Second, str] = {"deconfounded": "CKA", "mutual": "share", "cls": "CKA", "gap": "CKA"}


def again(test: Callable[..., Any], measure: Second, *, margin: float | None = None) -> Callable[..., Any]:
    """The claim `<id>/<measure>`: the test with the fixture of that name in the place of `cka`.

    margin: the claim's own by default; another measure has another scale, on which 0 asks for the direction alone.
    """
    first = cast(Claimed, test).claim

    def second(**fixtures: Any) -> Decision | Sequence[Decision]:
        answer: Decision | Sequence[Decision] = test(cka=fixtures.pop(measure), **fixtures)
        return answer

    # pytest asks the signature which fixtures to give.
    signature = inspect.signature(test)
    renamed = [p.replace(name=measure) if p.name == "cka" else p for p in signature.parameters.values()]
    cast(Any, second).__signature__ = signature.replace(parameters=renamed)
    second.__name__, second.__module__ = f"{test.__name__}_{measure}", test.__module__
    return claim(
        f"{first.id}/{measure}",
        where=first.where,
        statement=first.statement,
        reading=f"{first.reading}; {READINGS[measure]}" + ("; direction alone" if margin == 0 else ""),
        margin=first.margin if margin is None else margin,
        about=first.about,
        published="none",
        asks=first.asks,
        blocks=first.blocks,
        title=first.title,
        quantity=QUANTITIES[measure],
    )(second)
