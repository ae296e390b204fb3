"""The study in small, for the tests that run the whole pipeline."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from paragon.params import ROOT

# The study in small: some seconds a stage, most of them for starting the kernel.
SMALL = {
    # One thread: two that share a busy core wait for each other, longer than they compute.
    "run": {"seeds": [0, 1], "threads": 1},
    "data": {"max_users": 60},
    # Long enough to rank some targets among the first ten of the catalogue.
    "backbones": {"dim": 16, "history": 20, "epochs": 4, "batch": 32, "learning_rate": 0.02},
    "adapters": {
        "width": 4,
        "anchors": [0.05, 0.35, 0.65, 1],
        "oracles": 4,
        "served_rows": 8,
        "steps": 40,
        "batch": 64,
        "checks": 5,
        "snapshots": 4,
    },
    "generator": {
        "latent": 4,
        "width": 32,
        "blocks": 1,
        "steps": 60,
        "batch": 32,
        "behaviour_batch": 2,
        "behaviour_rows": 32,
    },
    "evaluation": {"few_anchors": [[0.05, 0.35, 1]]},
    "rivals": {
        "retrain_weights": [0.5],
        "end_to_end": ["hypernetwork"],
        "weights": 2,
        "rows": 32,
        "width": 16,
        "blocks": 1,
    },
}


def hear_signals():
    """For a process to be started: signals do what they usually do, even under nohup."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def is_running(process):
    """Whether a process still does something: a dead one may be waiting to be collected."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def command(folder, *arguments):
    """Run a program of this environment in a folder; its output, after an exit code of 0."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PARAGON_")}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def git(folder, *arguments):
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return command(folder, "git", *identity, *arguments)


def snapshot(root):
    """The content of everything that the pipeline makes."""
    paths = [path for name in ("artifacts", "results") for path in (root / name).rglob("*")]
    files = [*filter(Path.is_file, paths), root / "dvc.lock"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def small_study(tmp_path):
    """A clone of the working tree, as it is now, with few users, steps and seeds."""
    if not (ROOT / "data" / "ml-100k" / "ml-100k.inter").exists():
        pytest.skip("data/ml-100k is missing: run `python -m paragon fetch ml-100k`")
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: its files cannot be told from others")
    root = tmp_path / "first"
    for name in git(ROOT, "ls-files", "-coz", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("results/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    (root / "dvc.lock").unlink(missing_ok=True)
    shutil.copytree(ROOT / "data" / "ml-100k", root / "data" / "ml-100k")
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["studies"] = {"datasets": ["ml-100k"], "backbones": ["sasrec"]}
    for key, value in SMALL.items():
        params[key] = params[key] | value if isinstance(value, dict) else value
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "small")
    return root
