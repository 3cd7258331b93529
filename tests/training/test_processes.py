"""Jobs done by the cores of a machine: in their order, each on one thread, and with the error of the one that fails."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest
import torch

from harness.artifacts.errors import InvalidInput
from harness.training.processes import shared_out


@pytest.fixture(params=["1", "2"], ids=["one core", "two cores"], autouse=True)
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", request.param)
    return int(request.param)


def test_results_are_in_the_order_of_the_jobs() -> None:
    assert shared_out(range(7), lambda i: i * i, unit="job") == [i * i for i in range(7)]
    assert shared_out([], lambda i: i, unit="job") == []


def test_each_job_has_one_thread_and_the_caller_keeps_its_own(cores: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        seen = shared_out(range(4), lambda _: (torch.get_num_threads(), os.getpid()), unit="job")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert {threads for threads, _ in seen} == {1}
    assert ({os.getpid()} == {process for _, process in seen}) == (cores == 1)


def test_another_device_keeps_the_work_here_and_its_threads() -> None:
    seen = shared_out(range(4), lambda _: (torch.get_num_threads(), os.getpid()), unit="job", device="cuda")
    assert set(seen) == {(torch.get_num_threads(), os.getpid())}


def test_an_error_says_what_it_said() -> None:
    def fail(i: int) -> None:
        raise InvalidInput("probe", field="images", seen=i, expected="more")

    with pytest.raises(InvalidInput, match="seen: 5"):
        shared_out([5], fail, unit="job")


def test_arrays_in_a_partial_are_not_copied_to_each_core(cores: int) -> None:
    large = np.zeros(1 << 20)
    assert shared_out([0, 1], partial(_mapped, large=large), unit="job") == [cores == 2] * 2


def _mapped(_: int, large: np.ndarray) -> bool:
    return isinstance(large, np.memmap)
