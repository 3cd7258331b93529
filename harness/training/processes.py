"""The processes of one launch, such as torchrun's, and jobs that these or the cores of this machine do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
import torch.distributed as dist
from joblib import Parallel, cpu_count, delayed
from tqdm import tqdm

Job, Result = TypeVar("Job"), TypeVar("Result")


def shared_out(jobs: Sequence[Job], work: Callable[[Job], Result], *, unit: str, device: str = "cpu") -> list[Result]:
    """The results of all jobs, in their order.

    Of n launched processes, process i does jobs i, i + n, and so on. Without a launcher a CPU's cores share them
    (LOKY_MAX_CPU_COUNT says how many), and another device does all. Work and results are what pickle takes; arrays in the
    arguments of a functools.partial are not copied to each core. unit: what the progress counts.

    On a CPU each job has one thread, however many there are, and so the same result.
    """

    def shown(results: Iterable[Result], n: int) -> list[Result]:
        return list(tqdm(results, total=n, unit=unit, disable=not sys.stderr.isatty()))

    work = partial(_on_one_thread, work, device)
    if "RANK" not in os.environ:
        cores = max(1, min(cpu_count(), len(jobs))) if device == "cpu" else 1
        each = Parallel(n_jobs=cores, return_as="generator")(delayed(work)(job) for job in jobs)
        return shown(each, len(jobs))
    rank, n = joined()
    parts: list[list[Result]] = [[] for _ in range(n)]
    mine = jobs[rank::n]
    dist.all_gather_object(parts, shown(map(work, mine), len(mine)))
    return [parts[i % n][i // n] for i in range(len(jobs))]


def joined() -> tuple[int, int]:
    """This process's number among those of its launch, and how many there are: 0 and 1 without a launcher."""
    if "RANK" not in os.environ:
        return 0, 1
    if not dist.is_initialized():
        # torch's own choice: gloo for tensors on a CPU, NCCL for those on GPUs.
        dist.init_process_group()
    return dist.get_rank(), dist.get_world_size()


def first() -> bool:
    """Whether this is the process that writes."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """On a CPU, one thread: sums of more end in other last bits, which a probe with a large rate makes large."""
    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _on_one_thread(work: Callable[[Job], Result], device: str, job: Job) -> Result:
    with one_thread(device):
        return work(job)
