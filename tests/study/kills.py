"""Ends a run of the pipeline at random moments, as a machine or a person would."""

import signal
import subprocess

import psutil

from paragon_study.running.stages import recover
from tests.study.conftest import hear_signals, user_environment

PARTS = {
    **{"kernel": "ipykernel_launcher", "worker": "popen_loky"},
    **{"dvc": "dvc repro", "stage": "-m paragon run"},
}
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP]


def killed_run(root, rng, longest):
    """``dvc repro`` in ``root``, with one signal in the first ``longest`` seconds.

    It hits all processes together or one of them, whichever is drawn and there.  Returns what
    was hit, or None if the run finished all the same: before, or because the process that was
    hit had done its work (a kernel lives on for a moment).  Nothing may go on afterwards.
    """
    printed = root.with_name("killed_run.log")
    with open(printed, "w", encoding="utf-8") as log:
        files = {"stdout": log, "stderr": subprocess.STDOUT}
        own = {"start_new_session": True, "preexec_fn": hear_signals, "env": user_environment()}
        run = subprocess.Popen(["dvc", "repro"], cwd=root, **files, **own)
    try:
        assert run.wait(rng.uniform(0, longest)) == 0, printed.read_text(encoding="utf-8")
        return None
    except subprocess.TimeoutExpired:
        pass
    everyone = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    aim = rng.choice(["all", *PARTS])
    hit = [process for process in everyone if aim == "all" or PARTS[aim] in _words_of(process)]
    if not hit:
        aim, hit = "all", everyone
    number = rng.choice(SIGNALS)
    for process in hit:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            pass
    finished = run.wait(60) == 0
    assert not finished or aim not in ("all", "dvc"), f"{aim}, {number.name}: not noticed"
    _, alive = psutil.wait_procs(everyone, timeout=30)
    assert not alive, f"{aim}, {number.name}: {[_words_of(process) for process in alive]} went on"
    recover(root)  # as `make repro` does
    return None if finished else aim


def _words_of(process):
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
