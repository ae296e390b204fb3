"""Independent trainings side by side: one a process, each on one thread.

The models of this package are too small to gain from a second thread, and there
are many of them.  Which process trains which model does not matter to the result.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from paragon.progress import progress

if TYPE_CHECKING:
    from paragon.study import Study

T = TypeVar("T")
# Processes started with these get one thread for each library that has threads of its own, which
# reads them when it is loaded.  torch.set_num_threads would not do: NumPy's linear algebra would
# still have its threads, which wait for each other by spinning, and with as many busy processes
# as cores a product of small matrices took 70 ms.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def side_by_side(
    function: Callable[..., T], study: Study, jobs: Sequence[tuple], name: str
) -> list[T]:
    """``[function(study, *job) for job in jobs]``, on a CPU ``threads`` of them at a time.

    ``function`` is one of a module, so that another process can import it; it loads
    what it needs and seeds its own random numbers.
    """
    workers = balanced(len(jobs), study.params.threads) if study.device.type == "cpu" else 1
    # "spawn": a forked process would inherit the threads of this one.
    context = multiprocessing.get_context("spawn")
    with environment(ONE_THREAD), ProcessPoolExecutor(workers, context) as pool:
        running = [pool.submit(function, study, *job) for job in jobs]
        return [job.result() for job in progress(running, name)]


@contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables that processes started here inherit; restored afterwards."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def balanced(jobs: int, threads: int) -> int:
    """How many of so many equal jobs to run at a time, so that no thread is idle at the end.

    Three jobs on two threads take two rounds if two run at a time, and one and a half if
    all three share the threads.
    """

    def time(workers: int) -> float:
        rounds, left = divmod(jobs, workers)
        return rounds * workers / threads + (max(1.0, left / threads) if left else 0)

    return min(range(threads, 2 * threads + 1), key=time)
