"""Start a Dask worker: ``python -m paragon_study.pipeline.worker ADDRESS`` (docs/scale.md)."""

import os
import sys

from paragon.progress import QUIET
from paragon_study.pipeline.determinism import STAGE, choose_kernels

if __name__ == "__main__":
    choose_kernels()
    os.environ |= STAGE | {QUIET: "1"}
    options = ["--nthreads", "1", "--no-dashboard", *sys.argv[1:]]
    os.execv(sys.executable, [sys.executable, "-m", "distributed.cli.dask_worker", *options])
