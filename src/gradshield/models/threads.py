"""Threads of torch in a container."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

CGROUP = Path("/sys/fs/cgroup")


def limit_threads(cgroup: Path = CGROUP) -> None:
    """Let torch use no more threads than the container may use cores.

    torch counts the cores of the machine. Under a quota for less, threads wait for each other at
    every operation. OMP_NUM_THREADS, where it is set, is the user's word and stays.
    """
    quota = core_quota(cgroup)
    if quota is not None and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), math.ceil(quota))))


def core_quota(cgroup: Path = CGROUP) -> float | None:
    """Cores that the container may use, by version 2 or 1 of control groups; None for no limit."""
    second, first = cgroup / "cpu.max", cgroup / "cpu"
    if second.is_file():
        quota, period = second.read_text().split()
    elif (first / "cpu.cfs_quota_us").is_file():
        quota = (first / "cpu.cfs_quota_us").read_text().strip()
        period = (first / "cpu.cfs_period_us").read_text()
    else:
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
