"""Bounds on what other people's files and programs may take: size, memory and time."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradshield.errors import UserError

VARIABLE = "GRADSHIELD_MAX_GB"
"""Environment variable that raises, or lowers, how much a data file may unpack to."""
GIGABYTE = 10**9
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where Linux tells a process how much memory its container has: a number, or `max`."""
_UNKNOWN_MEMORY = 32 * GIGABYTE


class OutOfTime(Exception):  # noqa: N818, the name says what happened
    """Something took longer than it may."""


def most_bytes() -> int:
    """Bytes that a data file may unpack to: `GRADSHIELD_MAX_GB`, or half of the memory.

    Raises:
        UserError: The variable is set to what is no positive number.
    """
    asked = os.environ.get(VARIABLE)
    if asked is None:
        return machine_memory() // 2
    try:
        gigabytes = float(asked)
    except ValueError:
        gigabytes = math.nan
    if not (gigabytes > 0 and math.isfinite(gigabytes)):
        raise UserError(f"{VARIABLE} is {asked!r}: set it to a number of gigabytes, such as 64.")
    return int(gigabytes * GIGABYTE)


def machine_memory() -> int:
    """Bytes of memory that processes may have here: the machine's, or less in a container."""
    return min(_physical_memory(), _container_memory() or sys.maxsize)


def _physical_memory() -> int:
    """Bytes of the machine's memory, as far as it tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN_MEMORY


def _container_memory() -> int | None:
    """Bytes that the container leaves to its processes; None where there is no bound."""
    try:
        return int(CONTAINER_LIMIT.read_text())
    except (OSError, ValueError):
        return None


@contextmanager
def bounded_memory(more: int) -> Iterator[None]:
    """Let the process take so many more bytes at most; beyond them allocations fail.

    What fails raises MemoryError, or the like of the library that asked. Where the system has no
    such bound, there is none.
    """
    try:
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([taken + more, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def bounded_time(seconds: float) -> Iterator[None]:
    """Interrupt the block after so many seconds.

    Only the main thread of a system with timers can be interrupted, and only if nobody else has
    set the timer; else there is no bound.

    Raises:
        OutOfTime: In the block, wherever it is then.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or not hasattr(signal, "setitimer")
        or signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0)
    ):
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise OutOfTime(f"it took longer than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
