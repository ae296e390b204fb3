"""Make results identical on all x86-64 processors with AVX2, by fixing the kernels of libraries.

Kernels sum in different orders, and training amplifies rounding.  Two limits: ``x ** 0.5``,
``cdist``, ``log2`` and ``log10`` of tensors start from processor-dependent estimates, so nothing
trained or measured may use them; and other library versions sum differently.
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
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # MKL uses AVX2 on one maker's processors only, this branch on all; tuning is 40 % slower.
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}


def choose_kernels() -> None:
    """Set the variables for this process and its children; call it before libraries load."""
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.update(KERNELS)


def stage_variables(threads: int) -> dict[str, str]:
    """Return the variables of a kernel for a stage; threads change sums, hash seeds order sets."""
    libraries = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(libraries, str(threads)) | {"PYTHONHASHSEED": "0", **VARIABLES}


def begin_worker(parent: int) -> None:
    """Set up a training process without progress bars that ends with its parent."""
    os.environ[QUIET] = "1"
    os.environ.pop(LINE, None)
    when_gone(parent, lambda: os._exit(1))


def when_gone(parent: int, act: Callable[[], None]) -> None:
    """Call ``act`` in another thread when ``parent`` is no longer the parent process."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        act()

    threading.Thread(target=watch, daemon=True).start()
