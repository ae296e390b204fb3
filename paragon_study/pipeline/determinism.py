"""The same bytes on every x86-64 processor: which kernels the libraries may choose.

The libraries below torch and NumPy choose their kernels by the maker and the model
of the processor.  Each kernel sums in its own order, and training amplifies the last
digit of a sum until the third digit of a result differs.  ``python -m paragon`` sets
these variables, so that every stage of the pipeline takes kernels that all processors
with AVX2 (2013 and later) share.

Two things they do not reach.  The square root of a tensor, ``x ** 0.5``, ``torch.cdist``,
``log2`` and ``log10`` start from an estimate of the processor, whose last digits are the
maker's own: nothing that is trained or measured may use them (torch's fused optimizers do
not).  And other versions of the libraries sum in another order again.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable

from paragon.progress import LINE, QUIET
from paragon_study.pipeline.memory import VARIABLES

KERNELS = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # MKL takes its AVX2 kernels on one maker's processors only, and this branch on all. With
    # it tuning takes some 40 % longer.
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}


def choose_kernels() -> None:
    """Set the variables for this process and those it starts, before a library reads them."""
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.update(KERNELS)


def stage_variables(threads: int) -> dict[str, str]:
    """Variables of a kernel that runs a stage.

    The number of threads changes the order of sums, and a hash seed the order of sets.
    """
    libraries = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(libraries, str(threads)) | {"PYTHONHASHSEED": "0", **VARIABLES}


def begin_worker(parent: int) -> None:
    """Begin a process that trains: without bars of its own, and with its parent's end as its end.

    A worker whose parent was killed would go on training, and overwrite what a later run made.
    It is here so that a worker without a job does not load torch.
    """
    os.environ[QUIET] = "1"  # those of several processes would overwrite each other
    os.environ.pop(LINE, None)
    when_gone(parent, lambda: os._exit(1))


def when_gone(parent: int, act: Callable[[], None]) -> None:
    """Call ``act``, in another thread, when this process has no longer this ``parent``."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        act()

    threading.Thread(target=watch, daemon=True).start()
