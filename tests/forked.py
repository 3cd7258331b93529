"""Parts of a test in processes of their own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import torch


def forked(work: Callable[[], int]) -> int:
    """Do the work in a fork of this process and return how it ended: the code that it gives, or minus the signal.

    A fork has torch already, which a new process takes seconds to import. It has one thread: those of OpenMP do not survive it.
    """
    return _ended(_started(work))


def launched(work: Callable[[], int], count: int) -> list[int]:
    """Do the work in so many forks at once, which are told of each other as by torchrun, and return how each ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def ranked(rank: int) -> Callable[[], int]:
        def told() -> int:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            return work()

        return told

    return [_ended(child) for child in [_started(ranked(rank)) for rank in range(count)]]


def _started(work: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            code = work()
        finally:
            os._exit(code)
    return child


def _ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
