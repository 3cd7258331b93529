"""Path efficiency: of ways whose E is known, group by group, and of ways that are none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from harness.artifacts.errors import InvalidInput
from harness.maths.path_efficiency import ParameterPath, Steps, group

NAME = "blocks.0.attn.qkv.weight"


def way(points: Sequence[Sequence[float]] | Tensor) -> ParameterPath:
    """The way through these points of one parameter."""
    first, *others = (torch.as_tensor(point, dtype=torch.float64) for point in points)
    steps = Steps({NAME: first})
    for point in others:
        steps.add({NAME: point})
    return steps.paths()[0, "attention"]


def test_a_straight_way_has_efficiency_one_whatever_its_steps() -> None:
    found = way([[1.0, 1.0], [2.0, 1.0], [2.5, 1.0], [7.0, 1.0]])
    assert found.efficiency == pytest.approx(1.0)
    assert (found.net, found.steps) == (6.0, 3)
    assert found.displacement == pytest.approx(6 / math.sqrt(2))


def test_a_zig_zag_by_hand() -> None:
    """Three steps up and down the hypotenuse of 3 and 4: net along the ground."""
    found = way([[0.0, 1.0], [3.0, 5.0], [6.0, 1.0], [9.0, 5.0]])
    assert found.length == pytest.approx(15.0)
    assert found.efficiency == pytest.approx(math.hypot(9, 4) / 15)


def test_half_a_circle_is_its_diameter_over_its_arc_and_a_whole_one_nothing() -> None:
    angle = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    half = way(torch.stack([angle.cos(), angle.sin()], 1))
    assert half.efficiency == pytest.approx(2 / math.pi, rel=1e-6)
    whole = way(torch.stack([(2 * angle).cos(), (2 * angle).sin()], 1))
    assert whole.efficiency == pytest.approx(0, abs=1e-12)


def test_a_random_walk_of_n_steps_is_one_over_root_n() -> None:
    """In many dimensions steps are at right angles, so that n of them get root n far."""
    steps = torch.randn(100, 20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert way(steps.cumsum(0)).efficiency == pytest.approx(1 / math.sqrt(99), rel=0.02)


def test_fewer_snapshots_of_the_same_way_look_straighter() -> None:
    walk = torch.randn(101, 500, generator=torch.Generator().manual_seed(1), dtype=torch.float64).cumsum(0)
    assert way(walk).efficiency < way(walk[::10]).efficiency < way(walk[::50]).efficiency


def test_parameters_are_taken_together_by_block_and_kind() -> None:
    assert group("blocks.11.attn.qkv.weight") == group("blocks.11.attn.proj.bias") == (11, "attention")
    assert group("blocks.3.mlp.fc2.weight") == (3, "fc")
    assert group("blocks.3.norm1.bias") == group("blocks.3.norm2.weight") == (3, "norm")
    assert group("blocks.3.ls1.gamma") == (3, "other")
    assert group("patch_embed.proj.weight") == group("norm.weight") == (-1, "other")
    proj, fc = "blocks.0.attn.proj.bias", "blocks.1.mlp.fc1.bias"
    steps = Steps({NAME: torch.zeros(2), proj: torch.ones(1), fc: torch.ones(1)})
    steps.add({NAME: torch.tensor([3.0, 0.0]), proj: torch.tensor([5.0]), fc: torch.zeros(1)})
    found = steps.paths()
    assert found[0, "attention"].net == pytest.approx(5.0)
    assert found[1, "fc"].net == pytest.approx(1.0)


def test_steps_far_below_the_parameters_own_precision_are_not_lost_in_the_sum() -> None:
    points = 1000 + 1e-6 * torch.arange(200, dtype=torch.float64)[:, None]
    assert way(points).length == pytest.approx(199e-6, rel=1e-6)


def test_snapshots_that_change_in_place_are_kept_as_they_were() -> None:
    network = {NAME: torch.zeros(2)}
    steps = Steps(network)
    for _ in range(3):
        network[NAME] += 1.0
        steps.add(network)
    assert steps.paths()[0, "attention"].net == pytest.approx(3 * math.sqrt(2))


def test_what_is_no_way_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 2"):
        Steps({NAME: torch.zeros(2)}).paths()
    with pytest.raises(InvalidInput, match="attention of block 0"):
        way([[1.0], [1.0]])
    steps = Steps({NAME: torch.zeros(2)})
    for strange in ({"norm.weight": torch.zeros(2)}, {NAME: torch.zeros(3)}, {}):
        with pytest.raises(InvalidInput, match="snapshot 1"):
            steps.add(strange)
    with pytest.raises(InvalidInput, match=f"NaN or Inf in {NAME}"):
        steps.add({NAME: torch.tensor([1.0, torch.nan])})
