"""Work shared out among the processes of one launch, such as torchrun's: each does its part, and all have the whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch.distributed as dist

Job, Result = TypeVar("Job"), TypeVar("Result")


def shared_out(jobs: Sequence[Job], work: Callable[[Job], Result]) -> list[Result]:
    """The results of all jobs, in their order: process i of n does jobs i, i + n, and so on.

    A process that was not launched with others does all of them. Results are what pickle takes.
    """
    if "RANK" not in os.environ:
        return [work(job) for job in jobs]
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    rank, n = dist.get_rank(), dist.get_world_size()
    parts: list[list[Result]] = [[] for _ in range(n)]
    dist.all_gather_object(parts, [work(job) for job in jobs[rank::n]])
    return [parts[i % n][i // n] for i in range(len(jobs))]


def first() -> bool:
    """Whether this is the process that writes."""
    return os.environ.get("RANK", "0") == "0"
