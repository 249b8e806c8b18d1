from __future__ import annotations

import sys

import numpy as np
import pytest

from gradshield.benchmark.memory import peak_memory

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_taken_and_freed_again_is_seen() -> None:
    with peak_memory() as peak:
        np.ones(64 * MIB // 8).sum()
    if peak.bytes is None:
        pytest.skip("this system does not let a process reset its peak")
    assert 60 * MIB < peak.bytes < 90 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_there_before_does_not_count() -> None:
    held = np.ones(64 * MIB // 8)
    with peak_memory() as peak:
        held.sum()
    assert peak.bytes is None or peak.bytes < 30 * MIB
