"""The study in small, for the tests that run the whole pipeline."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from paragon.params import ROOT
from paragon_study.course.lab import write_small_params
from paragon_study.pipeline.determinism import KERNELS
from paragon_study.running.runner import recover

KILLS = int(os.environ.get("PARAGON_KILLS", "1"))  # `make test-all` has 25
PARTS = ("", "dvc repro", "-m paragon run", "ipykernel_launcher")  # of a command; "" is in all
# Other studies' results, and the ablations: every DVC command reads all there are.
LEFT_OUT = ("results/", "ablations/")


def hear_signals():
    """For a process to be started: signals do what they usually do, even under nohup."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def is_running(process):
    """Whether a process still does something: a dead one may be waiting to be collected."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def user_environment():
    """The variables of somebody who calls the programs of this environment by name.

    Without those that the tests set: a program has to choose its kernels itself.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PARAGON_")}
    kept = {k: v for k, v in kept.items() if k not in KERNELS}
    return kept | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


def command(folder, *arguments):
    """Run a program of this environment in a folder; its output, after an exit code of 0."""
    done = subprocess.run(
        arguments, cwd=folder, env=user_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def git(folder, *arguments):
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return command(folder, "git", *identity, *arguments)


def snapshot(root):
    """The content of everything that the pipeline makes, without its times."""
    files = [p for name in ("artifacts", "results") for p in (root / name).rglob("*")]
    files = [p for p in files if p.is_file() and not p.name.endswith(".time.json")]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in [*files, root / "dvc.lock"]}


def killed(root, rng):
    """``dvc repro``, of which a part or all gets a signal: whether it was hit before its end.

    Afterwards no process goes on.
    """
    log = root.with_name("killed.log")
    with open(log, "w", encoding="utf-8") as printed:
        run = subprocess.Popen(
            ["dvc", "repro"], cwd=root, env=user_environment(), stdout=printed,
            stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=hear_signals,
        )  # fmt: skip
    with suppress(subprocess.TimeoutExpired):
        assert run.wait(rng.uniform(5, 20)) == 0, log.read_text(encoding="utf-8")
        return False
    commands = {}
    for process in [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            commands[process] = " ".join(process.cmdline())
    part, number = rng.choice(PARTS), rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
    for process in [p for p, words in commands.items() if part in words] or commands:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    ended = run.wait(60)
    _, alive = psutil.wait_procs(list(commands), timeout=30)
    assert not alive, f"{part}, {number.name}: {[commands[process] for process in alive]} went on"
    recover(root)  # as `make repro` does
    return ended != 0


@pytest.fixture(scope="session")
def make_small_study():
    """Makes, in a folder, a clone of the working tree as it is now, with few users and steps."""
    if not (ROOT / "data" / "ml-100k" / "ml-100k.inter").exists():
        pytest.skip("data/ml-100k is missing: run `python -m paragon fetch ml-100k`")
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: its files cannot be told from others")

    def make(root):
        for name in git(ROOT, "ls-files", "-coz", "--exclude-standard").split("\0"):
            if name and (ROOT / name).is_file() and not name.startswith(LEFT_OUT):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        (root / "dvc.lock").unlink(missing_ok=True)
        shutil.copytree(ROOT / "data" / "ml-100k", root / "data" / "ml-100k")
        # Without the list of other studies' metrics: their results are not copied.
        pipeline = (root / "dvc.yaml").read_text()
        (root / "dvc.yaml").write_text(pipeline.partition("\nmetrics:")[0] + "\n")
        write_small_params(root / "params.yaml")
        # A third generator, which the notebooks do not name: they train it and measure it, too.
        settings = (root / "params.yaml").read_text()
        third = "\ngenerators:\n  third: {task_batch: 0, steps: 20}\n"
        assert settings.count("\ngenerators:\n") == 1
        (root / "params.yaml").write_text(settings.replace("\ngenerators:\n", third))
        git(root, "init", "-q")
        git(root, "add", "-A")
        git(root, "commit", "-qm", "small")
        return root

    return make


@pytest.fixture(scope="session")
def run_once(make_small_study, tmp_path_factory):
    """A small study, run with interruptions by the first test that asks, in whichever process.

    One test may change it (docs/authors.md: DVC remembers folders by their place); the others
    take the copy beside it, see `finished`.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root, kept = shared / "small" / "first", shared / "small" / "kept"
    with FileLock(shared / "small.lock"):
        if not kept.exists():
            rng, left = random.Random(5), KILLS
            while left:
                shutil.rmtree(root, ignore_errors=True)
                make_small_study(root)
                while left and killed(root, rng):
                    left -= 1
            command(root, "dvc", "repro")
            shutil.copytree(root, kept, symlinks=True)
    return root


@pytest.fixture(scope="module")
def finished(run_once, tmp_path_factory):
    """A small study that has been run, for one file of tests alone."""
    kept = run_once.with_name("kept")
    return shutil.copytree(kept, tmp_path_factory.mktemp("finished") / "first", symlinks=True)
