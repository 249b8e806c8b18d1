"""Bounds hold in the block and are gone after it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from gradshield import bounds
from gradshield.bounds import (
    OutOfTime,
    bounded_memory,
    bounded_time,
    machine_memory,
    most_bytes,
)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the bound is Linux's")


def test_half_of_the_memory_or_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRADSHIELD_MAX_GB", raising=False)
    assert most_bytes() > 10**8
    monkeypatch.setenv("GRADSHIELD_MAX_GB", "2.5")
    assert most_bytes() == 2_500_000_000


def test_a_container_may_leave_less_than_the_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(bounds, "CONTAINER_LIMIT", limit)
    machine = machine_memory()
    assert machine > 10**8
    for text, expected in (("max\n", machine), ("5000000\n", 5_000_000), ("9" * 18, machine)):
        limit.write_text(text)
        assert machine_memory() == expected


@on_linux
def test_memory_beyond_the_bound_cannot_be_had() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    with bounded_memory(2**28):
        assert len(bytes(2**24)) == 2**24
        with pytest.raises(MemoryError):
            bytes(2**30)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(bytes(2**29)) == 2**29


def test_an_endless_loop_is_interrupted_once() -> None:
    start = time.monotonic()
    with pytest.raises(OutOfTime, match=r"longer than 0\.2 seconds"), bounded_time(0.2):
        all(number >= 0 for number in count())
    assert time.monotonic() - start < 5
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    time.sleep(0.3)


def test_a_timer_of_somebody_else_is_left_alone() -> None:
    signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        with bounded_time(0.01):
            time.sleep(0.05)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 50
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_other_threads_are_not_interrupted() -> None:
    done = []

    def work() -> None:
        with bounded_time(0.01):
            time.sleep(0.05)
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
