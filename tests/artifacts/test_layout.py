"""Features lie token by token and depth by depth, and are found where they were put."""

from __future__ import annotations

import numpy as np
import pytest

from harness.artifacts.errors import InvalidInput
from harness.artifacts.layout import Layout, of_type, types_of
from harness.artifacts.tables import TYPES

CNN, VIT = Layout(("gap",), (2, 3, 3)), Layout(("cls", "gap"), (2, 2, 2))


def test_columns_are_dealt_out_once_and_in_order() -> None:
    for layout in (CNN, VIT):
        slices = [layout.at(token, depth) for token in layout.tokens for depth in range(len(layout.widths))]
        assert [i for part in slices for i in range(part.start, part.stop)] == list(range(layout.columns))
        assert layout.at(layout.tokens[-1], -1) == slices[-1]
        for depth, part in enumerate(slices):
            assert {layout.depth_of(i) for i in range(part.start, part.stop)} == {depth % len(layout.widths)}


def test_features_are_joined_in_the_order_asked_for() -> None:
    x = np.arange(24, dtype=np.float16).reshape(2, 12)
    joined = VIT.joined(x, "gap", (2, 0))
    assert joined.tolist() == [[10, 11, 6, 7], [22, 23, 18, 19]]
    assert joined.dtype == np.float32


@pytest.mark.parametrize(("token", "depth", "expected"), [("cls", 0, "gap"), ("gap", 3, "0 to 2"), ("gap", -2, "0 to 2")])
def test_what_is_not_there_is_refused(token: str, depth: int, expected: str) -> None:
    with pytest.raises(InvalidInput, match=expected):
        CNN.at(token, depth)


def test_types_are_those_that_every_block_has() -> None:
    assert types_of([f"{i}.{kind}" for i in range(3) for kind in TYPES]) == TYPES
    assert types_of(["0.block", "1.block"]) == ("block",)
    assert of_type(["0.mlp.fc1", "0.block", "1.mlp.fc1", "1.block", "pixels"], "mlp.fc1") == [0, 2]


@pytest.mark.parametrize(
    "layers",
    [[], ["1.block", "0.block"], ["0.block", "0.norm1"], ["0.norm1", "0.block", "1.block"], ["0.block", "0.block"], ["stem"]],
)
def test_blocks_that_are_not_whole_are_refused(layers: list[str]) -> None:
    with pytest.raises(InvalidInput, match="each whole"):
        types_of(layers)
