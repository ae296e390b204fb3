"""Start a Dask worker: ``python -m paragon_study.pipeline.worker ADDRESS`` (docs/scale.md)."""

from __future__ import annotations

import os
import sys

from paragon.progress import QUIET
from paragon_study.pipeline.determinism import choose_kernels

if __name__ == "__main__":
    choose_kernels()
    os.environ |= {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", QUIET)}
    options = ["--nthreads", "1", "--no-dashboard", *sys.argv[1:]]
    os.execv(sys.executable, [sys.executable, "-m", "distributed.cli.dask_worker", *options])
