"""The end of a run: whatever ends it, or the `dvc repro` that started it, ends its kernel too."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from paragon.progress import LINE, QUIET


@contextmanager
def exit_at_signals() -> Iterator[None]:
    """Exit by an exception at SIGTERM and SIGHUP, as Python does at SIGINT.

    So what is open is closed, the kernel of a notebook for one.  A signal that is ignored, as
    under ``nohup``, stays so.
    """

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # it gets no signals
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    heard = [number for number, handler in before.items() if handler != signal.SIG_IGN]
    for number in heard:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


def begin_under_dvc() -> None:
    """Let this process end when the DVC that started it does, which tells its commands nothing.

    A stage that goes on alone would overwrite what the next ``dvc repro`` makes.  Before that, the
    lock files are copied.  Does nothing if DVC did not start this.
    """
    if "DVC_STAGE" in os.environ:  # DVC sets it for every command
        from paragon_study.running.locks import keep_locks  # other commands start faster without

        when_gone(os.getppid(), lambda: os.kill(os.getpid(), signal.SIGTERM))
        keep_locks()


def begin_worker(parent: int, alone: bool) -> None:
    """What a process does before its first job: no bars of its own, and an end with its parent.

    A worker whose parent was killed would go on training, and overwrite what a later run made.
    It is here so that a worker without a job does not load torch.
    """
    os.environ[QUIET] = "1"  # those of several processes would overwrite each other
    if not alone:
        os.environ.pop(LINE, None)
    when_gone(parent, lambda: os._exit(1))


def when_gone(parent: int, act: Callable[[], None]) -> None:
    """Call ``act``, in another thread, when this process has no longer this ``parent``."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        act()

    threading.Thread(target=watch, daemon=True).start()
