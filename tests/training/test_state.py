"""The state of an unfinished training: what it holds, and what the user sees where it cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.artifacts.errors import InvalidInput
from harness.training import state


def training(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    layer = torch.nn.Linear(3, 2)
    return layer, torch.optim.AdamW(layer.parameters(), lr=0.1)


def step(layer: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
    layer(torch.randn(4, 3)).square().mean().backward()
    optimiser.step()
    optimiser.zero_grad()


def test_a_restored_training_goes_on_as_the_saved_one(tmp_path: Path) -> None:
    layer, optimiser = training(0)
    step(layer, optimiser)
    state.save(tmp_path / "new", {"layer": layer, "optimiser": optimiser}, {"epochs": 1, "curve": [0.5]})
    step(layer, optimiser)
    other, optimiser = training(1)
    assert state.restore(tmp_path / "new", {"layer": other, "optimiser": optimiser}) == {"epochs": 1, "curve": [0.5]}
    step(other, optimiser)
    assert torch.equal(layer.weight, other.weight)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["state.pt"]


def test_the_state_of_a_gpu_is_resumed_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, optimiser = training(0)
    state.save(tmp_path, {"layer": layer, "optimiser": optimiser}, {"epochs": 1})
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    kept["generators"] = [kept["generators"][0], torch.zeros(16, dtype=torch.uint8)]
    torch.save(kept, tmp_path / "state.pt")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    other, optimiser = training(1)
    assert state.restore(tmp_path, {"layer": other, "optimiser": optimiser}) == {"epochs": 1}
    assert torch.equal(layer.weight, other.weight)
    assert torch.equal(torch.get_rng_state(), kept["generators"][0])


def test_without_a_state_nothing_changes(tmp_path: Path) -> None:
    layer, optimiser = training(0)
    before = layer.weight.clone(), torch.get_rng_state()
    assert state.restore(tmp_path, {"layer": layer, "optimiser": optimiser}) is None
    assert torch.equal(before[0], layer.weight)
    assert torch.equal(before[1], torch.get_rng_state())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a state"])
def test_a_state_that_cannot_be_read_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"(?s)state\.pt.*next: delete it"):
        state.restore(tmp_path, {})


def test_the_state_of_another_network_is_refused(tmp_path: Path) -> None:
    layer, _ = training(0)
    state.save(tmp_path, {"layer": layer}, {})
    with pytest.raises(InvalidInput, match=r"(?s)state\.pt.*layer.*size mismatch.*next: delete it"):
        state.restore(tmp_path, {"layer": torch.nn.Linear(5, 2)})
