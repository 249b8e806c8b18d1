"""A disk that is really full, at every step of a run: a small one in memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradshield.benchmark.reliability.kills import contents, leftovers
from gradshield.errors import UserError
from tests.benchmark.reliability.small_runs import run_config, small_filter
from tests.run.data_files import mixed_jsonl


def _mount(*arguments: str) -> bool:
    outcome = subprocess.run(arguments, capture_output=True, check=False)
    return outcome.returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mounted = _mount("mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(place))
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("this machine does not let us mount a disk")
    yield place
    _mount("umount", "-l", str(place))  # files that are mapped into memory keep it busy


def _enlarge(disk: Path, kilobytes: int) -> None:
    assert _mount("mount", "-o", f"remount,size={kilobytes}k", str(disk))


def test_a_run_stops_at_a_full_disk_and_goes_on_when_there_is_room(
    model_folder: Path, disk: Path, tmp_path: Path
) -> None:
    config = run_config(mixed_jsonl(tmp_path / "mixed.jsonl"), model_folder, action="annotate")
    small_filter(tmp_path / "whole", config)
    expected = contents(tmp_path / "whole")
    run, faults = disk / "run", []
    for kilobytes in range(8, 800, 16):
        _enlarge(disk, kilobytes)
        try:
            small_filter(run, config)
            break
        except UserError as fault:
            faults.append(str(fault))
        whole = contents(run)
        assert leftovers(run) == []
        assert all(content for content in whole.values())
    assert all("cannot be written: the disk is full" in fault for fault in faults)
    stopped_at = {Path(fault.partition(" cannot")[0]).name for fault in faults}
    assert {"direction.safetensors", "report.html"} <= stopped_at
    assert contents(run) == expected


@pytest.mark.skipif(os.name != "posix", reason="needs limits of resources")
def test_a_file_that_may_not_grow_is_no_half_file(tmp_path: Path) -> None:
    import resource

    from gradshield.files import append_lines, write_text

    append_lines(tmp_path / "trail.jsonl", ["1" * 400])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        for write in (
            lambda: write_text(tmp_path / "a.json", "1" * 2000),
            lambda: append_lines(tmp_path / "trail.jsonl", ["2" * 700]),
        ):
            with pytest.raises(UserError, match="cannot be written: the disk is full"):
                write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["trail.jsonl"]
    assert (tmp_path / "trail.jsonl").read_text() == "1" * 400 + "\n"
