"""In which order things reach the disk, and what a process that was killed in between leaves."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradshield import durable
from gradshield.durable import (
    is_full_disk,
    make_folder,
    put_right,
    remove,
    sync,
    sync_folder,
)
from gradshield.errors import UserError
from gradshield.files import append_lines, mend_last_line, write_text, written_whole


class Power:
    """Notes what is renamed and what is waited for, in order; cuts the power before a call."""

    def __init__(self, patch: pytest.MonkeyPatch, cut_at: int | None = None) -> None:
        self.calls: list[str] = []
        self.cut_at = cut_at
        for module, name in ((os, "rename"), (os, "replace"), (os, "link"), (os, "fsync")):
            patch.setattr(module, name, self._noting(name, getattr(module, name)))
        # What a killed process does not do either.
        patch.setattr(durable, "_settle", lambda workplace, target: None)

    def _noting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            if len(self.calls) + 1 == self.cut_at:
                raise SystemExit
            if name == "fsync":
                place = os.readlink(f"/proc/self/fd/{arguments[0]}")
                self.calls.append(f"fsync {Path(place).name}")
            else:
                self.calls.append(f"{name} {' '.join(Path(path).name for path in arguments)}")
            return call(*arguments)

        return noted


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")


@needs_proc
def test_a_file_is_on_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    power = Power(monkeypatch)
    write_text(tmp_path / "run" / "a.json", "{}")
    assert power.calls == ["fsync a.json", "replace a.json a.json", "fsync run"]


@needs_proc
def test_a_name_that_is_given_once_is_on_the_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    power = Power(monkeypatch)
    write_text(tmp_path / "run" / "a.json", "{}", once=True)
    first = ["fsync a.json", "link a.json a.json", "fsync run"]
    assert power.calls == first
    # A second process does not know whether the first has come so far.
    write_text(tmp_path / "run" / "a.json", "{}", once=True)
    assert power.calls == [*first, *first]


@needs_proc
def test_all_of_a_folder_is_on_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    power = Power(monkeypatch)
    with written_whole(tmp_path / "deep" / "kept") as draft:
        (draft / "sub").mkdir(parents=True)
        (draft / "sub" / "a").touch()
        (draft / "b").touch()
    moved = power.calls.index("replace kept kept")
    assert set(power.calls[1:moved]) == {"fsync a", "fsync sub", "fsync b", "fsync kept"}
    assert power.calls[0] == f"fsync {tmp_path.name}"  # the name of the new folder `deep`
    assert power.calls[moved + 1 :] == ["fsync deep"]


def folder_of(path: Path, name: str) -> Path:
    path.mkdir()
    (path / name).write_text(name)
    return path


@needs_proc
@pytest.mark.parametrize("cut_at", range(1, 8))
def test_the_next_start_finds_the_old_folder_or_the_new_one(tmp_path: Path, cut_at: int) -> None:
    target = folder_of(tmp_path / "kept", "old")
    with pytest.MonkeyPatch.context() as patch:
        power = Power(patch, cut_at)
        try:
            with written_whole(target) as draft:
                folder_of(draft, "new")
        except SystemExit:
            pass
    assert len(power.calls) == min(cut_at - 1, 7)
    put_right(tmp_path)
    found = [path.name for path in target.iterdir()]
    moved_aside = any(call.startswith("rename") for call in power.calls)
    assert found == (["new"] if moved_aside else ["old"])
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_an_interrupt_between_the_two_moves_completes_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder_of(tmp_path / "kept", "old")
    replace = os.replace

    def interrupted(*paths: Any) -> None:
        monkeypatch.setattr("os.replace", replace)
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt), written_whole(target) as draft:
        folder_of(draft, "new")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_link_to_a_folder_is_replaced_and_the_folder_stays(tmp_path: Path) -> None:
    elsewhere = folder_of(tmp_path / "elsewhere", "theirs")
    (tmp_path / "kept").symlink_to(elsewhere)
    with written_whole(tmp_path / "kept") as draft:
        folder_of(draft, "new")
    assert not (tmp_path / "kept").is_symlink()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["new"]
    assert [path.name for path in elsewhere.iterdir()] == ["theirs"]


def test_a_file_and_a_folder_are_removed_whole(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "kept", "a")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(folder)
    for name in ("link", "file", "kept", "never there"):
        remove(tmp_path / name)
        if name == "link":
            assert (folder / "a").exists()
    assert list(tmp_path.iterdir()) == []


@needs_proc
@pytest.mark.parametrize("cut_at", [1, 2])
def test_a_folder_is_there_or_gone(tmp_path: Path, cut_at: int) -> None:
    folder = folder_of(tmp_path / "kept", "a")
    with pytest.MonkeyPatch.context() as patch:
        Power(patch, cut_at)
        with pytest.raises(SystemExit):
            remove(folder)
    put_right(tmp_path)
    assert folder.exists() == (cut_at == 1)
    assert [path.name for path in tmp_path.iterdir()] == (["kept"] if cut_at == 1 else [])


def test_drafts_are_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    mine = [".kept.jsonl.a1b2c3_d.draft", ".a.b.00000000.draft"]
    theirs = [".kept.draft", ".kept.jsonl.a1b2c3_d", "notes.a1b2c3_d.draft", ".x.A1b2c3_d.draft"]
    for name in (*mine, *theirs):
        folder_of(tmp_path / name, "half")
    (tmp_path / "below").mkdir()
    folder_of(tmp_path / "below" / mine[0], "half")
    (tmp_path / ".link.a1b2c3_d.draft").symlink_to(tmp_path / "below")
    put_right(tmp_path, "kept.jsonl")
    assert not (tmp_path / mine[0]).exists()
    assert (tmp_path / mine[1]).exists()
    put_right(tmp_path)
    put_right(tmp_path / "not there")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([*theirs, "below", ".link.a1b2c3_d.draft"])
    assert (tmp_path / "below" / mine[0]).exists()


def test_new_folders_are_made_above_each_other(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_file_system_that_cannot_wait_for_names_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    (tmp_path / "a").touch()
    monkeypatch.setattr("os.fsync", unknown)
    sync_folder(tmp_path)
    with pytest.raises(OSError, match="Invalid argument"):
        sync(tmp_path / "a")


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class SerialisationError(Exception):
    """Of a library that is not written in Python."""


@pytest.mark.parametrize(
    ("fault", "full"),
    [
        (FULL, True),
        (OSError(errno.EDQUOT, "quota"), True),
        (SerialisationError("I/O error: No space left on device (os error 28)"), True),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (ValueError("no room"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_full_disk_is_known_by_whatever_meets_it(fault: Exception, full: bool) -> None:
    assert is_full_disk(fault) is full


@pytest.mark.parametrize("call", ["os.fsync", "os.mkdir", "os.replace"])
def test_a_full_disk_leaves_the_old_file_and_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")

    def full(*_: Any, **__: Any) -> None:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(call, full)
        with pytest.raises(UserError, match=r"a\.json cannot be written: the disk is full"):
            write_text(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    write_text(target, "new")
    assert target.read_text() == "new"


def test_a_file_of_a_draft_is_called_by_the_name_that_it_is_to_have(tmp_path: Path) -> None:
    def write() -> None:
        with written_whole(tmp_path / "kept") as folder:
            folder.mkdir()
            with written_whole(folder / "a.jsonl"):
                raise FULL

    with pytest.raises(UserError) as caught:
        write()
    assert str(caught.value).startswith(f"{tmp_path / 'kept' / 'a.jsonl'} cannot be written: ")


def test_a_fault_without_a_file_gets_its_name(tmp_path: Path) -> None:
    broken = OSError(errno.EIO, "Input/output error")
    told = r"a\.json cannot be written: Input/output error\. Nothing"
    with pytest.raises(UserError, match=told), written_whole(tmp_path / "a.json"):
        raise broken
    denied = PermissionError(errno.EACCES, "Permission denied", "/data/rows.jsonl")
    with pytest.raises(PermissionError), written_whole(tmp_path / "a.json"):
        raise denied


def test_other_faults_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a bug"), written_whole(tmp_path / "a"):
        raise ValueError("a bug")
    with pytest.raises(UserError, match="No space left in row 3"), written_whole(tmp_path / "a"):
        raise UserError("No space left in row 3.")


def test_a_full_disk_appends_nothing_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = tmp_path / "trail.jsonl"
    append_lines(trail, ["one"])

    def full(descriptor: int) -> None:
        raise FULL

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"trail\.jsonl cannot be written"):
        append_lines(trail, ["two"])
    assert trail.read_bytes() == b"one\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"a": 1}\n{"b": 2}\n', b'{"a": 1}\n{"b": 2}\n'),
        (b'{"a": 1}\n{"b": ', b'{"a": 1}\n'),
        (b'{"b": ', b""),
        (b'{"a": 1}\n{"b": 2}', b'{"a": 1}\n{"b": 2}\n'),
        (b'{"a": 1}\n\x00\x00\x00', b'{"a": 1}\n'),
        (b"", b""),
    ],
)
def test_a_line_that_was_cut_short_goes(tmp_path: Path, before: bytes, after: bytes) -> None:
    trail = tmp_path / "trail.jsonl"
    mend_last_line(trail)
    assert not trail.exists()
    trail.write_bytes(before)
    mend_last_line(trail)
    assert trail.read_bytes() == after
