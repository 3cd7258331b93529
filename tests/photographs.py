"""A folder of small photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def photographs(root: Path, count: int) -> None:
    """So many of 40 x 50 pixels in each split, of two classes, smooth, so that they look alike in every size."""
    rng = np.random.default_rng(0)
    for split in ("train", "validation"):
        for i in range(count):
            path = root / split / f"class{i % 2}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            corners = Image.fromarray(rng.integers(0, 256, (2, 2, 3), np.uint8))
            corners.resize((50, 40), Image.Resampling.BILINEAR).save(path, quality=95)
