"""Trainings side by side: the number of processes, the order of results, threads and memory."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from paragon import progress
from paragon.adapters.frozen import frozen_events
from paragon.backbones import Fitted
from paragon.generator.training import losses_on, train_generator
from paragon.params import ROOT
from paragon.storage import load_tensors, save_tensors
from paragon_study.pipeline import jobs
from paragon_study.pipeline.determinism import THREADS
from paragon_study.pipeline.jobs import run_in_processes, training_events, tune_collection
from paragon_study.pipeline.study import Study
from tests.conftest import THOROUGH, refused, same_parameters
from tests.study.conftest import hear_signals, is_running, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def study(settings):
    return Study("toy", "sasrec", settings)


def test_ndcg_by_user_is_that_of_the_frozen_backbone_in_the_whole_catalogue(
    study, seqs, backbone, monkeypatch
):
    monkeypatch.setattr(Study, "load_frozen", lambda self: (seqs, backbone, {}))
    valid = seqs.valid
    states = backbone.states_before(seqs, valid.users, valid.positions)
    scores = backbone.score_catalogue(states).numpy()
    scores[seqs.excluded(valid)] = -np.inf
    ranks = (scores >= np.take_along_axis(scores, valid.targets[:, None], 1)).sum(1)
    gains = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0)
    found = study.ndcg_by_user()
    assert found == pytest.approx(gains) and gains.any()
    # Somebody with two events counts once.
    twice = dataclasses.replace(valid, users=np.where(valid.users == 1, 0, valid.users))
    both = dataclasses.replace(seqs, valid=dataclasses.replace(twice, positions=valid.positions))
    monkeypatch.setattr(Study, "load_frozen", lambda self: (both, backbone, {}))
    assert len(study.ndcg_by_user()) == len(gains) - 1


def described(study, number):
    threads = [os.environ.get(name) for name in THREADS], torch.get_num_threads()
    return study.name, number, threads, os.getpid()


def ends_itself(study):
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_in_order_from_other_processes_of_one_thread_each(study, monkeypatch):
    monkeypatch.setenv(THREADS[0], "2")
    monkeypatch.delenv(THREADS[1], raising=False)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    found = run_in_processes(described, study, [(n,) for n in range(2)], "jobs")
    assert [row[:3] for row in found] == [("toy", n, (["1"] * 3, 1)) for n in range(2)]
    assert os.getpid() not in {row[3] for row in found}
    assert [os.environ.get(name) for name in THREADS[:2]] == ["2", None]
    refused("generators", run_in_processes, ends_itself, study, [(), ()], "generators")


def says(study, line):
    """Take ten steps; return what the pipeline would print after the last but one."""
    progress.SECONDS = 0.0
    for number in progress.progress(range(10), "steps"):
        time.sleep(0.05)
        if number == 8:
            said = progress.newest_lines(Path(line))
    return said


def test_a_process_at_work_says_how_far_it_is(study, tmp_path, monkeypatch):
    """Not only when it is done, which may take minutes; and nothing once it is."""
    line = tmp_path / "progress"
    monkeypatch.setenv(progress.LINE, str(line))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    found = run_in_processes(says, study, [(str(line),)] * 2, "jobs")
    assert all("/10" in said and "steps" in said for said in found)
    assert list(tmp_path.glob("progress-*")) == []


def test_one_job_or_one_core_needs_no_other_process(study, monkeypatch):
    for cores, count in (("1", 3), ("2", 1)):
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", cores)
        found = run_in_processes(described, study, [(n,) for n in range(count)], "jobs")
        assert {row[3] for row in found} == {os.getpid()}


def test_states_are_stored_with_the_collection_and_used_for_the_same_backbone(
    backbone, seqs, study, tmp_path, monkeypatch
):
    about = {"sha256": "abc"}
    monkeypatch.setattr("paragon_study.pipeline.study.ARTIFACTS", tmp_path)
    monkeypatch.setattr(Study, "load_frozen", lambda study: (seqs, backbone, about))
    tune_collection(study)
    stem = study.folder / "adapters" / "states"
    tensors, made = load_tensors(stem, "adapters")
    save_tensors(stem, {"states": tensors["states"] + 1}, made)
    assert torch.equal(training_events(study)[0].states, tensors["states"] + 1)
    about["sha256"] = "other"
    assert torch.allclose(training_events(study)[0].states, tensors["states"], atol=1e-6)


def test_a_stored_backbone_says_whether_a_rule_is_as_good(
    backbone, seqs, study, tmp_path, monkeypatch
):
    """For what loads it later: the summary, the model card and the service."""
    monkeypatch.setattr("paragon_study.pipeline.study.ARTIFACTS", tmp_path)
    for ndcg, weak in ((0.001, True), (0.9, False)):
        study.save_backbone(backbone, seqs, Fitted(2, 1, [1.0, 1.0], [-ndcg, 0.0]))
        _, description = study.load_backbone(seqs)
        assert ("warning" in description) == weak
        assert not weak or "item_knn" in description["warning"]


def test_generators_are_trained_by_name_and_the_recipe_of_the_paper_without_training_events(
    backbone, seqs, settings, tmp_path, monkeypatch
):
    about, asked, task = {"sha256": "abc"}, [], jobs.training_events
    monkeypatch.setattr("paragon_study.pipeline.study.ARTIFACTS", tmp_path)
    monkeypatch.setattr(Study, "load_frozen", lambda study: (seqs, backbone, about))
    study = Study("toy", "sasrec", settings)
    collection = tune_collection(study)
    monkeypatch.setattr(jobs, "training_events", lambda study: asked.append(1) or task(study))
    made = jobs.train_generators(study, ["paragon"])
    assert [*made] == ["paragon"] and not asked
    made |= jobs.train_generators(study, ["generated"])
    assert len(asked) == 2  # for each seed
    for name, generators in made.items():
        assert [(g.description["name"], g.description["seed"]) for g in generators] == [
            (name, seed) for seed in (0, 1)
        ]
        own = settings.of_generator(name)
        valid = frozen_events(backbone, seqs, "valid", settings.adapters)
        losses = losses_on(task(study)[0], settings.adapters.objectives, own.task_rows)
        alone = train_generator(collection, own, 1, valid, losses, name)
        assert same_parameters(alone.model, generators[1].model)
    assert study.load_served()[3].description["name"] == "generated"


def trains(study, folder, seed):
    """A training in small that leaves a file; on a cluster it waits at first, to be killed."""
    mark = Path(folder) / f"{seed}.begun"
    if "cluster" in folder and not mark.exists():
        mark.write_text(str(os.getpid()))
        time.sleep(60 if seed == 0 else 0)
    torch.manual_seed(seed)
    weight = torch.randn(50, 50, requires_grad=True)
    for _ in range(20):
        loss = (torch.randn(64, 50) @ weight).square().mean()
        weight.data -= 0.1 * torch.autograd.grad(loss, weight)[0]
    save_tensors(Path(folder) / str(seed), {"weight": weight.detach()}, {"seed": seed})
    return os.getpid()


@pytest.mark.skipif(not THOROUGH, reason="of `make test-all`")
def test_a_cluster_makes_the_same_and_does_the_jobs_of_a_killed_worker_again(
    study, tmp_path, monkeypatch
):
    cluster = pytest.importorskip("distributed").LocalCluster
    folders = [tmp_path / name for name in ("processes", "cluster")]
    for folder in folders:
        folder.mkdir()
    jobs = [[(str(folder), seed) for seed in range(4)] for folder in folders]
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    run_in_processes(trains, study, jobs[0], "jobs")
    with cluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as own:
        monkeypatch.setenv("PARAGON_CLUSTER", own.scheduler_address)
        refused(own.scheduler_address, run_in_processes, described, study, [(0,)], "jobs")
        own.scale(2)
        own.wait_for_workers(2)
        begun = tmp_path / "cluster" / "0.begun"

        def kill() -> None:
            wait_until(lambda: begun.exists() and begun.read_text(), seconds=300)
            os.kill(int(begun.read_text()), signal.SIGKILL)

        threading.Thread(target=kill, daemon=True).start()
        workers = run_in_processes(trains, study, jobs[1], "jobs")
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
        refused("pipeline.worker", run_in_processes, described, study, [(0,)], "jobs")
    assert int(begun.read_text()) not in workers and os.getpid() not in workers
    for name in (f"{seed}.{suffix}" for seed in range(4) for suffix in ("safetensors", "json")):
        first, second = (folder / name for folder in folders)
        assert first.read_bytes() == second.read_bytes()


def test_a_cluster_that_does_not_answer_is_said_in_one_line(study, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setenv("PARAGON_CLUSTER", "nowhere")
    refused("nowhere", run_in_processes, described, study, [(0,)], "jobs")


ABANDONED = """
import sys
from tests.study.test_jobs import sleeps
from paragon.params import load_params
from paragon_study.pipeline.jobs import run_in_processes
from paragon_study.pipeline.study import Study
if __name__ == "__main__":
    jobs = [(sys.argv[1], number) for number in range(2)]
    run_in_processes(sleeps, Study("toy", "sasrec", load_params()), jobs, "jobs")
"""


def sleeps(study, folder, number):
    """Say who is at work, and stay at it for longer than the test lasts."""
    (Path(folder) / f"{number}.part").write_text(str(os.getpid()))
    (Path(folder) / f"{number}.part").rename(Path(folder) / f"{number}")
    time.sleep(120)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL] + THOROUGH * [signal.SIGTERM, signal.SIGHUP])
def test_no_worker_outlives_the_run_that_started_it(tmp_path, how):
    """It would go on training, and overwrite what a later run made."""
    script = tmp_path / "abandoned.py"
    script.write_text(ABANDONED)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LOKY_MAX_CPU_COUNT": "2"}
    command = [sys.executable, script, tmp_path]
    run = subprocess.Popen(command, cwd=ROOT, env=environment, preexec_fn=hear_signals)
    wait_until((tmp_path / "0").exists, seconds=300)  # two processes load the libraries
    worker = int((tmp_path / "0").read_text())
    assert is_running(worker)
    run.send_signal(how)
    run.wait(timeout=30)
    wait_until(lambda: not is_running(worker), seconds=20)
