"""Whether memory that is freed stays with the process that will need it again."""

import platform
import subprocess
import sys

import pytest

STEPS = 20
TRAINING = f"""
import resource
import sys

from paragon_study.pipeline.determinism import keep_memory

if sys.argv[1:]:
    keep_memory()
import numpy as np

np.full(10_000_000, 1.0)  # 80 MB, of the first step
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({STEPS}):
    np.full(10_000_000, 1.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_cleared(*arguments):
    command = [sys.executable, "-c", TRAINING, *arguments]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc is what gives memory back")
def test_a_tensor_of_the_next_step_is_where_that_of_the_last_one_was():
    assert pages_cleared("keep") < STEPS
    assert pages_cleared() > 20 * STEPS  # of 2 MB at most, so at least 38 a step
