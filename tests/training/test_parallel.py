"""Processes that share the images of each training step end as one process does, which has all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.artifacts.errors import InvalidInput
from harness.training import engine, parallel
from tests.forked import launched
from tests.training.test_pretraining import RECIPES, objective_of

SHARED = [name for name in RECIPES if not name.endswith("_conv")]


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randint(256, (96, 3, 16, 16), generator=g, dtype=torch.uint8), torch.arange(96) % 4


def trained(name: str, images: tuple[Tensor, Tensor], folder: Path, until: int = 1) -> tuple[dict[str, Tensor], list[float]]:
    """The weights after some epochs, and the losses on the way."""
    objective, recipe = objective_of(name)
    curve = engine.pretrain(objective, recipe, *images, folder, monitor_every=1, until=until)
    return objective.state_dict(), [row["loss"] for row in curve]


def in_processes(work: Callable[[], object], folder: Path, count: int = 2) -> list[object]:
    """What the work gives in each process of a launch."""
    folder.mkdir()

    def kept() -> int:
        found = work()
        torch.save(found, folder / f"{parallel.joined()[0]}.pt")
        return 0

    assert launched(kept, count) == [0] * count
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]


@pytest.mark.parametrize("name", SHARED)
def test_two_processes_end_as_one_with_the_whole_batch(
    name: str, images: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # AdamW divides a gradient by its own size: that of a parameter without one is rounding, which moves it as far as any.
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, **_: torch.optim.SGD(groups, lr=1.0, momentum=0.9))
    weights, losses = trained(name, images, tmp_path / "one")
    start = objective_of(name)[0].state_dict()
    moved = max(float((weights[key] - start[key]).abs().max()) for key in weights if weights[key].is_floating_point())
    results = in_processes(lambda: trained(name, images, tmp_path / "two"), tmp_path / "results")
    for found, seen in results:
        assert seen == pytest.approx(losses, rel=1e-4)
        for key, value in weights.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=1e-3 * moved, msg=key)
    (first, _), (second, _) = results
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_launch_is_resumed_by_all_of_its_processes(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    whole = in_processes(lambda: trained("mae", images, tmp_path / "whole", 2), tmp_path / "a")
    in_processes(lambda: trained("mae", images, tmp_path / "broken"), tmp_path / "b")
    resumed = in_processes(lambda: trained("mae", images, tmp_path / "broken", 2), tmp_path / "c")
    for (expected, losses), (found, seen) in zip(whole, resumed, strict=True):
        assert seen == losses
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_the_gradient_is_that_of_all_rows(tmp_path: Path) -> None:
    """Rows pass a shared layer; what follows has all rows, and depends on them together."""
    g = torch.Generator().manual_seed(0)
    rows, first, second = (torch.randn(*shape, generator=g) for shape in ((6, 4), (5, 4), (3, 5)))

    def gradients() -> list[Tensor]:
        layer, head = nn.Linear(4, 5, bias=False), nn.Linear(5, 3, bias=False)
        layer.weight.data, head.weight.data = first.clone(), second.clone()
        head(parallel.spread(layer, rows)).std(0).sum().backward()
        parallel.average([*layer.parameters(), *head.parameters()])
        return [layer.weight.grad, head.weight.grad]

    expected = gradients()
    for count in (2, 3):
        for found in in_processes(gradients, tmp_path / str(count), count):
            torch.testing.assert_close(found, expected)


def test_what_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "joined", lambda: (0, 3))
    with pytest.raises(InvalidInput, match=r"(?s)batch.*32.*a multiple of the 3 processes"):
        parallel.refuse_unequal(nn.Linear(2, 2), 32)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    with pytest.raises(InvalidInput, match=r"(?s)BatchNorm.*one process"):
        parallel.refuse_unequal(network, 33)
    monkeypatch.setattr(parallel, "joined", lambda: (0, 1))
    parallel.refuse_unequal(network, 32)
