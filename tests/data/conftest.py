"""Images on disk, as the tests describe them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.params.images import ReaderData


def reader(root: Path, **options: Any) -> ReaderData:
    return ReaderData.model_validate({"kind": "reader", "reader": "", "root": str(root), "resize": 16, "size": 16} | options)
