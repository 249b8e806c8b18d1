"""One run at a time in a folder, or the shards of one."""

from __future__ import annotations

import errno
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.run import lock
from gradshield.run.folder import RunFolder
from gradshield.run.lock import at_work, at_work_on
from gradshield.scoring.shards import WHOLE, Shard


@contextmanager
def another_process(place: AbstractContextManager[None]) -> Iterator[BaseProcess]:
    """A process that is at work in a place until the block ends, when it is killed."""
    # Forked: a new one would import for seconds what this one has.
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_hold, args=(place, theirs))
    process.start()
    assert ours.recv() == "held"
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _hold(place: AbstractContextManager[None], told: Connection) -> None:
    with place:
        told.send("held")
        time.sleep(600)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Recorder:
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, line: str) -> None:
        self.warnings.append(line)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "MOMENT", 0.05)
    monkeypatch.setattr(lock, "TURN", 0.05)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


@contextmanager
def in_a_thread(folder: RunFolder, shard: Shard = WHOLE) -> Iterator[None]:
    """Another thread of this process is at work in a folder while the block runs."""
    held, done = threading.Event(), threading.Event()

    def work() -> None:
        with at_work(folder, shard=shard):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert held.wait(60)
    try:
        yield
    finally:
        done.set()
        thread.join()


@needs_fork
def test_a_second_run_is_told_of_the_first_until_it_is_killed(folder: RunFolder) -> None:
    with another_process(at_work(folder)) as process:
        with pytest.raises(UserError) as caught, at_work(folder, patience=0.05):
            pytest.fail("two runs in one folder")
        text = str(caught.value)
        assert text.startswith(f"Another run (process {process.pid} on {socket.gethostname()}, ")
        assert f"is at work in {folder.path}: wait for it or stop it" in text
        assert f", since {time.strftime('%Y-%m-%d', time.gmtime())} " in text
        process.kill()
        process.join()
        assert (folder.path / ".lock").exists()
        with at_work(folder):
            pass
    assert list(folder.path.iterdir()) == []


def test_steps_of_a_run_do_not_lock_each_other_out(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with at_work(folder), at_work(RunFolder(tmp_path / "link" / "run")), at_work(folder):
        assert (folder.path / ".lock").exists()
    with at_work(RunFolder(tmp_path / "other")), at_work(folder):  # another folder is another run
        assert (folder.path / ".lock").exists()


def test_threads_are_runs_too(folder: RunFolder, tmp_path: Path) -> None:
    with in_a_thread(folder):
        with at_work(RunFolder(tmp_path / "other")):
            pass
        with pytest.raises(UserError, match=f"process {os.getpid()} "), at_work(folder, patience=0):
            pytest.fail("two runs in one folder")
    with at_work(folder):
        pass


def test_shards_share_a_folder(folder: RunFolder) -> None:
    with ExitStack() as stack:
        for index in range(3):
            stack.enter_context(in_a_thread(folder, Shard(index, 3)))
        assert len(list(folder.path.glob(".shard-*-of-3.lock"))) == 3
        with (
            pytest.raises(UserError, match=r"Shard 1/3 \(.*Each shard is started once"),
            at_work(folder, shard=Shard(1, 3)),
        ):
            pytest.fail("one shard twice")
        with (
            pytest.raises(UserError, match=r"Shard 0/3 \(process .* is at work"),
            at_work(folder, patience=0),
        ):
            pytest.fail("a run among shards")
    with at_work(folder):
        pass
    assert not folder.path.exists()


def test_a_run_keeps_shards_out(folder: RunFolder) -> None:
    with (
        in_a_thread(folder),
        pytest.raises(UserError, match=r"Another run \(process"),
        at_work(folder, shard=Shard(0, 2)),
    ):
        pytest.fail("a shard beside a run")


@needs_fork
def test_a_killed_shard_can_be_started_again(folder: RunFolder) -> None:
    with another_process(at_work(folder, shard=Shard(0, 2))) as process:
        process.kill()
        process.join()
        assert (folder.path / ".shard-0-of-2.lock").exists()
        with at_work(folder, shard=Shard(0, 2)):
            pass
        (folder.path).mkdir(exist_ok=True)
        (folder.path / ".shard-1-of-2.lock").write_text("{}")
        with at_work(folder):
            assert not list(folder.path.glob(".shard-*"))


def leave_drafts(folder: RunFolder) -> list[Path]:
    """What a killed run leaves in each of the folders that are written to."""
    places = (folder.path, folder.scores, folder.search / "trials", folder.redacted)
    drafts = [place / ".a.parquet.abcd0123.draft" for place in places]
    for draft in drafts:
        draft.mkdir(parents=True)
        (draft / "a.parquet").write_text("half")
    return drafts


def test_a_start_clears_away_what_a_killed_run_left(folder: RunFolder) -> None:
    drafts = leave_drafts(folder)
    folder.overrides.write_bytes(b'{"row": 1}\n{"row": ')
    with at_work(folder):
        assert not any(draft.exists() for draft in drafts)
        assert folder.overrides.read_bytes() == b'{"row": 1}\n'


def test_a_shard_leaves_the_drafts_of_others_alone(folder: RunFolder) -> None:
    with in_a_thread(folder, Shard(1, 2)):
        drafts = leave_drafts(folder)
        with at_work(folder, shard=Shard(0, 2)):
            assert all(draft.exists() for draft in drafts)
    with at_work(folder, shard=Shard(0, 2)):  # nobody else is at work any more
        assert not any(draft.exists() for draft in drafts)


def test_links_are_not_followed(folder: RunFolder, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    draft = theirs / ".a.parquet.abcd0123.draft"
    draft.mkdir()
    (theirs / "overrides.jsonl").write_bytes(b"not a whole line")
    folder.path.mkdir()
    folder.scores.symlink_to(theirs)
    folder.overrides.symlink_to(theirs / "overrides.jsonl")
    with at_work(folder):
        pass
    assert draft.exists()
    assert (theirs / "overrides.jsonl").read_bytes() == b"not a whole line"


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path: Path) -> None:
    with at_work(RunFolder(tmp_path / "deep" / "run")):
        assert (tmp_path / "deep" / "run").is_dir()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    with at_work(RunFolder(tmp_path / "empty")):
        pass
    assert (tmp_path / "empty").is_dir()


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UserError, match="no run folder"), at_work(RunFolder(tmp_path / "run")):
        pytest.fail("a file is no folder")


@pytest.mark.parametrize(
    ("number", "warned"), [(errno.ENOSYS, True), (errno.ENOLCK, True), (errno.EROFS, False)]
)
@pytest.mark.parametrize("shard", [WHOLE, Shard(0, 2)], ids=str)
def test_without_locks_it_goes_on_and_says_so(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, number: int, warned: bool, shard: Shard
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    [draft, *_] = leave_drafts(folder)
    told = Recorder()
    with at_work(folder, told, shard=shard), at_work(folder, told):  # type: ignore[arg-type]
        assert draft.exists()  # it can be another's
        assert warned is not any(folder.path.glob(".*lock"))
    assert len(told.warnings) == warned
    assert all("has no locks" in line and str(folder.path) in line for line in told.warnings)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, UserError), (errno.EIO, OSError)])
def test_other_faults_of_the_disk_are_told(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(kind), at_work(folder):
        pytest.fail("went on")


@needs_fork
def test_a_result_that_is_replaced_whole_has_its_lock_beside_it(tmp_path: Path) -> None:
    result = tmp_path / "adapter"
    with another_process(at_work_on(result)):
        assert (tmp_path / ".adapter.lock").exists()
        (tmp_path / ".adapter.abcd0123.draft").mkdir()
        with (
            pytest.raises(UserError, match=r"Another process \(process .* is at work on"),
            at_work_on(result),
        ):
            pytest.fail("two at one result")
        with at_work_on(tmp_path / "other"):
            pass
        assert (tmp_path / ".adapter.abcd0123.draft").exists()
    with at_work_on(result), at_work_on(result):
        assert [path.name for path in tmp_path.iterdir()] == [".adapter.lock"]
    assert list(tmp_path.iterdir()) == []
