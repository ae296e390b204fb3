"""Independent trainings side by side: one a process, each on one thread.

The models of this package are too small to gain from a second thread, and there
are many of them.  Which process trains which model does not matter to the result.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import torch

from paragon.progress import progress
from paragon.study import Study

T = TypeVar("T")


def side_by_side(
    function: Callable[..., T], study: Study, jobs: Sequence[tuple], name: str
) -> list[T]:
    """``[function(study, *job) for job in jobs]``, on a CPU ``threads`` of them at a time.

    ``function`` is one of a module, so that another process can import it; it loads
    what it needs and seeds its own random numbers.
    """
    workers = study.params.threads if study.device.type == "cpu" else 1
    # "spawn": a forked process would inherit the threads of this one.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        running = [pool.submit(function, study, *job) for job in jobs]
        return [job.result() for job in progress(running, name)]
