"""Commands that are asked to stop: what is done is kept, and they say so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = "Stopped. What is done is kept: the same command goes on from there."


class Terminated(KeyboardInterrupt):
    """SIGTERM came, which launchers send some seconds before they kill.

    It is an interrupt, so that libraries which clean up after Ctrl-C do so after it as well.
    """


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` while the block runs, as SIGINT raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():  # no other can set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def exit_code(stop: KeyboardInterrupt) -> int:
    """128 and the number of the signal, as shells have it."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
