from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gradshield.models.threads import core_quota, limit_threads


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("800000 100000", 8.0)]
)
def test_the_quota_of_version_two(tmp_path: Path, text: str, cores: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert core_quota(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1\n", None), ("50000\n", 0.5)])
def test_the_quota_of_version_one(tmp_path: Path, quota: str, cores: float | None) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert core_quota(tmp_path) == cores


def test_no_control_group_is_no_limit(tmp_path: Path) -> None:
    assert core_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "set_by_user", "expected"),
    [("150000", False, 2), ("1000", False, 1), ("1000", True, 4)],
)
def test_threads_are_no_more_than_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, set_by_user: bool, expected: int
) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota} 100000")
    threads = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_by_user:
        monkeypatch.setenv("OMP_NUM_THREADS", "4")
    limit_threads(tmp_path)
    assert threads[-1] == expected
