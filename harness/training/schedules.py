"""Values that change over training, as functions of the step."""

from __future__ import annotations

from lightly.utils.scheduler import cosine_schedule


def warmup_cosine(step: int, warmup: int, total: int, peak: float, end: float = 0.0) -> float:
    """Linear warm-up to peak over `warmup` steps, then half a cosine to end at step total - 1."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return cosine_schedule(step - warmup, max(total - warmup, 1), peak, end)


__all__ = ["cosine_schedule", "warmup_cosine"]
