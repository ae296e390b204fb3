"""The end of a run: whatever ends it, or the `dvc repro` that started it, ends its kernel too."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from paragon_study.pipeline.determinism import when_gone


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
