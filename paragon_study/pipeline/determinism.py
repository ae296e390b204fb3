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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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
