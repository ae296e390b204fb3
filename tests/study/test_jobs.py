"""Trainings side by side: the number of processes, the order of results."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from paragon.params import ROOT
from paragon.study.jobs import balanced, side_by_side
from paragon.study.study import Study
from tests.study.conftest import hear_signals, is_running, wait_until


@pytest.mark.parametrize(
    ("jobs", "threads", "workers"),
    [(3, 2, 3), (9, 2, 3), (4, 2, 2), (8, 2, 2), (1, 2, 2), (3, 1, 1), (7, 4, 7), (0, 2, 2)],
)
def test_no_thread_is_idle_at_the_end(jobs, threads, workers):
    assert balanced(jobs, threads) == workers


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def described(study, first, second):
    return study.dataset, first, second, os.getpid()


def threads(study):
    return [os.environ.get(name) for name in THREADS], torch.get_num_threads()


def test_results_come_in_the_order_of_the_jobs_from_other_processes(settings):
    study = Study("toy", "sasrec", settings)
    found = side_by_side(described, study, [(n, str(n)) for n in range(5)], "jobs")
    assert [row[:3] for row in found] == [("toy", n, str(n)) for n in range(5)]
    assert os.getpid() not in {row[3] for row in found}


def test_each_process_has_one_thread_and_this_one_keeps_its_own(settings, monkeypatch):
    monkeypatch.setenv(THREADS[0], "2")
    monkeypatch.delenv(THREADS[1], raising=False)
    monkeypatch.setenv(THREADS[2], "3")
    found = side_by_side(threads, Study("toy", "sasrec", settings), [()], "jobs")
    assert found == [(["1", "1", "1"], 1)]
    assert [os.environ.get(name) for name in THREADS] == ["2", None, "3"]


ABANDONED = """
import sys
from tests.study.test_jobs import sleeps
from paragon.params import load_params
from paragon.study.jobs import side_by_side
from paragon.study.study import Study
if __name__ == "__main__":
    side_by_side(sleeps, Study("toy", "sasrec", load_params()), [(sys.argv[1], 0)], "jobs")
"""


def sleeps(study, folder, number):
    """Say who is at work, and stay at it for longer than the test lasts."""
    (Path(folder) / f"{number}.part").write_text(str(os.getpid()))
    (Path(folder) / f"{number}.part").rename(Path(folder) / f"{number}")
    time.sleep(120)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_no_worker_outlives_the_run_that_started_it(tmp_path, how):
    """It would go on training, and overwrite what a later run made."""
    script = tmp_path / "abandoned.py"
    script.write_text(ABANDONED)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, tmp_path]
    run = subprocess.Popen(command, cwd=ROOT, env=environment, preexec_fn=hear_signals)
    wait_until((tmp_path / "0").exists)
    worker = int((tmp_path / "0").read_text())
    assert is_running(worker)
    run.send_signal(how)
    run.wait(timeout=30)
    wait_until(lambda: not is_running(worker), seconds=20)
