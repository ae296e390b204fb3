"""Kills a run of the pipeline at random moments, as a machine that fails would."""

import signal
import subprocess

import psutil

from tests.study.conftest import hear_signals, user_environment

PARTS = {"kernel": "ipykernel_launcher", "worker": "multiprocessing.spawn"}


def killed_run(root, rng, longest):
    """``dvc repro`` in ``root``, with one SIGKILL in the first ``longest`` seconds.

    It hits all processes together, the kernel or a worker, whichever is drawn and there.
    Returns what was hit, or None if the run had finished before.  Nothing may go on afterwards.
    """
    run = subprocess.Popen(
        ["dvc", "repro"],
        cwd=root,
        env=user_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=hear_signals,
    )
    try:
        assert run.wait(rng.uniform(0, longest)) == 0
        return None
    except subprocess.TimeoutExpired:
        pass
    everyone = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    aim = rng.choice(["all", *PARTS])
    hit = [process for process in everyone if aim == "all" or PARTS[aim] in _words_of(process)]
    if not hit:
        aim, hit = "all", everyone
    for process in hit:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            pass
    assert run.wait(60) != 0, f"{aim} was killed, and the run did not notice"
    _, alive = psutil.wait_procs(everyone, timeout=30)
    assert not alive, f"{aim} was killed, and {[_words_of(process) for process in alive]} went on"
    return aim


def _words_of(process):
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
