"""Peak memory of this process while something runs (Linux only)."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROCESS = Path("/proc/self")


@dataclass
class PeakMemory:
    """What a block took at its peak; None if unknown.

    Attributes:
        bytes: Resident memory above what was in use before.
        total: Resident memory of the whole process.
    """

    bytes: int | None = None
    total: int | None = None


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measure the resident memory that a block takes at its peak above what was in use."""
    peak = PeakMemory()
    gc.collect()
    before = _start()
    yield peak
    if before is not None:
        peak.total = _status("VmHWM")
        peak.bytes = max(0, peak.total - before)


def _start() -> int | None:
    """Resident bytes now, and the record of the peak reset to them."""
    try:
        # What is freed and not given back would hide as much of the peak.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024
