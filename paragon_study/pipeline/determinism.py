"""Set up processes so that all x86-64 processors with AVX2 compute the same, and quickly.

Other library versions sum differently.  ``x ** 0.5``, ``cdist``, ``log2`` and ``log10`` of tensors
start from estimates that depend on the processor: nothing trained or measured may use them.
"""

import ctypes
import os
import platform
import threading
import time
from collections.abc import Callable

from paragon.progress import LINE, QUIET, line_of

KERNELS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # MKL uses AVX2 on one maker's processors only, this branch on all; tuning is 40 % slower.
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
# glibc keeps so many freed bytes in the process: returning large tensors to the system after each
# training step costs a tenth to half of the time.
_KEPT = 1 << 30
MEMORY = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(_KEPT))
# Two threads sum in another order than one, and in a third order where there is only one core.  One
# thread sums in the same order everywhere; the cores are used by several processes.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# For the kernel of a stage.  The order of a set depends on the seed of hashes.
STAGE = dict.fromkeys(THREADS, "1") | {"PYTHONHASHSEED": "0", **MEMORY}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from malloc.h


def choose_kernels() -> None:
    """Set the variables for this process and its children; call it before libraries load."""
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.update(KERNELS)


def keep_memory() -> None:
    """Set the variables of a stage, and keep freed memory; call it before libraries load."""
    os.environ.update(STAGE)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _KEPT)


def begin_worker(parent: int) -> None:
    """Set up a training process that ends with its parent.

    Its progress is no bar, but a line of its own for the pipeline.
    """
    os.environ[QUIET] = "1"
    if line := line_of(os.getpid()):
        os.environ[LINE] = line
    when_gone(parent, lambda: os._exit(1))


def when_gone(parent: int, act: Callable[[], None]) -> None:
    """Call ``act`` in another thread when ``parent`` is no longer the parent process."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        act()

    threading.Thread(target=watch, daemon=True).start()
