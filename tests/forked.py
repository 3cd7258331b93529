"""A part of a test in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch


def forked(work: Callable[[], int]) -> int:
    """Do the work in a fork of this process and return how it ended: the code that it gives, or minus the signal.

    A fork has torch already, which a new process takes seconds to import. It has one thread: those of OpenMP do not survive it.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
