"""Trainings side by side: the number of processes, the order of results."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from paragon.errors import ParagonError
from paragon.params import ROOT
from paragon.storage import load_tensors, save_tensors
from paragon_study.pipeline.jobs import run_in_processes, training_task, tune_collection
from paragon_study.pipeline.study import Study
from tests.conftest import THOROUGH
from tests.study.conftest import hear_signals, is_running, wait_until

thorough = pytest.mark.skipif(not THOROUGH, reason="of `make test-all`")


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def described(study, first, second):
    return study.dataset, first, second, os.getpid()


def threads(study):
    return [os.environ.get(name) for name in THREADS], torch.get_num_threads()


def test_results_come_in_the_order_of_the_jobs_from_other_processes(settings):
    study = Study("toy", "sasrec", settings)
    found = run_in_processes(described, study, [(n, str(n)) for n in range(5)], "jobs")
    assert [row[:3] for row in found] == [("toy", n, str(n)) for n in range(5)]
    assert os.getpid() not in {row[3] for row in found}


def test_each_process_has_one_thread_and_this_one_keeps_its_own(settings, monkeypatch):
    monkeypatch.setenv(THREADS[0], "2")
    monkeypatch.delenv(THREADS[1], raising=False)
    monkeypatch.setenv(THREADS[2], "3")
    found = run_in_processes(threads, Study("toy", "sasrec", settings), [()], "jobs")
    assert found == [(["1", "1", "1"], 1)]
    assert [os.environ.get(name) for name in THREADS] == ["2", None, "3"]


def test_one_thread_means_one_process_which_is_this_one(settings):
    run = settings.run.model_copy(update={"threads": 1})
    study = Study("toy", "sasrec", settings.model_copy(update={"run": run}))
    found = run_in_processes(described, study, [(n, "") for n in range(3)], "jobs")
    assert {row[3] for row in found} == {os.getpid()}


def test_states_are_stored_with_the_collection_and_used_for_the_same_backbone(
    backbone, seqs, settings, tmp_path, monkeypatch
):
    study, about = Study("toy", "sasrec", settings), {"sha256": "abc"}
    monkeypatch.setattr("paragon_study.pipeline.study.ARTIFACTS", tmp_path)
    monkeypatch.setattr(Study, "load_frozen", lambda study: (seqs, backbone, about))
    tune_collection(study)
    stem = study.folder / "adapters" / "states"
    tensors, made = load_tensors(stem, "adapters")
    save_tensors(stem, {"states": tensors["states"] + 1}, made)
    assert torch.equal(training_task(study, *study.load_frozen()).states, tensors["states"] + 1)
    other = training_task(study, seqs, backbone, {"sha256": "other"})
    assert torch.allclose(other.states, tensors["states"], atol=1e-6)


def ends_itself(study):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_ended_from_outside_is_said_in_one_line(settings):
    with pytest.raises(ParagonError, match="generators: a process .* was ended from outside"):
        run_in_processes(ends_itself, Study("toy", "sasrec", settings), [()], "generators")


def trains(study, folder, seed):
    """A training in small that leaves a file; on a cluster it waits at first, to be killed."""
    mark = Path(folder) / f"{seed}.begun"
    if "cluster" in folder and not mark.exists():
        mark.write_text(str(os.getpid()))
        time.sleep(60 if seed == 0 else 0)
    torch.manual_seed(seed)
    layer = torch.nn.Linear(50, 50)
    optimizer = torch.optim.Adam(layer.parameters())
    for _ in range(20):
        optimizer.zero_grad()
        layer(torch.randn(64, 50)).square().mean().backward()
        optimizer.step()
    save_tensors(Path(folder) / str(seed), layer.state_dict(), {"seed": seed})
    return os.getpid()


@thorough
def test_a_cluster_makes_the_same_and_does_the_jobs_of_a_killed_worker_again(
    settings, tmp_path, monkeypatch
):
    cluster = pytest.importorskip("distributed").LocalCluster
    study, seeds = Study("toy", "sasrec", settings), range(4)
    folders = [str(tmp_path / name) for name in ("processes", "cluster")]
    for folder in folders:
        Path(folder).mkdir()
    run_in_processes(trains, study, [(folders[0], seed) for seed in seeds], "jobs")
    with cluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as own:
        monkeypatch.setenv("PARAGON_CLUSTER", own.scheduler_address)
        begun = tmp_path / "cluster" / "0.begun"

        def kill() -> None:
            wait_until(lambda: begun.exists() and begun.read_text(), seconds=300)
            os.kill(int(begun.read_text()), signal.SIGKILL)

        threading.Thread(target=kill, daemon=True).start()
        workers = run_in_processes(trains, study, [(folders[1], seed) for seed in seeds], "jobs")
    assert int(begun.read_text()) not in workers and os.getpid() not in workers
    for seed in seeds:
        for suffix in ("safetensors", "json"):
            first, second = (Path(folder) / f"{seed}.{suffix}" for folder in folders)
            assert first.read_bytes() == second.read_bytes()


@thorough
def test_a_cluster_that_would_not_give_the_same_is_refused(settings, monkeypatch):
    cluster = pytest.importorskip("distributed").LocalCluster
    study, job = Study("toy", "sasrec", settings), [()]
    with cluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as own:
        monkeypatch.setenv("PARAGON_CLUSTER", own.scheduler_address)
        with pytest.raises(ParagonError, match="fewer than two workers"):
            run_in_processes(threads, study, job, "jobs")
        own.scale(2)
        own.wait_for_workers(2)
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
        with pytest.raises(ParagonError, match="paragon_study.pipeline.worker"):
            run_in_processes(threads, study, job, "jobs")


def test_a_cluster_that_does_not_answer_is_said_in_one_line(settings, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setenv("PARAGON_CLUSTER", "nowhere")
    with pytest.raises(ParagonError, match="PARAGON_CLUSTER=nowhere: no scheduler answers there"):
        run_in_processes(threads, Study("toy", "sasrec", settings), [()], "jobs")


ABANDONED = """
import sys
from tests.study.test_jobs import sleeps
from paragon.params import load_params
from paragon_study.pipeline.jobs import run_in_processes
from paragon_study.pipeline.study import Study
if __name__ == "__main__":
    run_in_processes(sleeps, Study("toy", "sasrec", load_params()), [(sys.argv[1], 0)], "jobs")
"""


def sleeps(study, folder, number):
    """Say who is at work, and stay at it for longer than the test lasts."""
    (Path(folder) / f"{number}.part").write_text(str(os.getpid()))
    (Path(folder) / f"{number}.part").rename(Path(folder) / f"{number}")
    time.sleep(120)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM] + THOROUGH * [signal.SIGHUP])
def test_no_worker_outlives_the_run_that_started_it(tmp_path, how):
    """It would go on training, and overwrite what a later run made."""
    script = tmp_path / "abandoned.py"
    script.write_text(ABANDONED)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, tmp_path]
    run = subprocess.Popen(command, cwd=ROOT, env=environment, preexec_fn=hear_signals)
    wait_until((tmp_path / "0").exists, seconds=300)  # two processes load the libraries
    worker = int((tmp_path / "0").read_text())
    assert is_running(worker)
    run.send_signal(how)
    run.wait(timeout=30)
    wait_until(lambda: not is_running(worker), seconds=20)
