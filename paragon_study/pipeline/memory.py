"""Memory that torch frees in one step of training and asks for again in the next.

glibc gives large tensors back to the system at once, and the system clears each page anew: that is
a tenth of the time of a training, and half of it on a machine that is slow at it.
"""

from __future__ import annotations

import ctypes
import os

_KEPT = 1 << 30  # bytes
VARIABLES = {"MALLOC_MMAP_THRESHOLD_": str(_KEPT), "MALLOC_TRIM_THRESHOLD_": str(_KEPT)}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_memory() -> None:
    """Keep up to a gigabyte, in this process and those that it starts; without glibc do nothing."""
    os.environ.update(VARIABLES)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _KEPT)
