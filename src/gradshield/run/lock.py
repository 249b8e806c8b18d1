"""Who is at work in a folder: one run, or shards of one run, and nobody else.

The system's own file locks are used, which end with the process that holds them, however it ends.
A run holds the folder's lock as long as it works. A shard holds it for a moment only, to take a
lock of its own: so a run finds out of every shard, and every shard of a run. A lock file tells who
holds it, and is deleted at the end; one that a killed process left locks nothing.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from gradshield.durable import full_disk, is_full_disk, make_folder, put_right
from gradshield.errors import UserError
from gradshield.files import mend_last_line
from gradshield.progress import Progress, Silent
from gradshield.run.folder import RunFolder
from gradshield.scoring.shards import WHOLE, Shard

LOCK = ".lock"
SHARD_LOCKS = ".shard-*.lock"
MOMENT = 2.0
"""Seconds that a run waits for the lock, which shards that are starting take for a moment each."""
TURN = 30.0
"""Seconds that a shard waits for it: many can start at the same time."""

_WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
_NOT_OURS = {errno.EACCES, errno.EPERM, errno.EROFS}
_HELD: ContextVar[frozenset[Path]] = ContextVar("_HELD", default=frozenset())
"""Folders that the present course of calls has locked: its inner steps lock them no more."""


class _BusyError(Exception):
    """Another process, or another thread of this one, holds a lock; the text tells who."""


@contextmanager
def at_work(
    folder: RunFolder,
    progress: Progress | None = None,
    *,
    shard: Shard = WHOLE,
    patience: float = MOMENT,
) -> Iterator[None]:
    """Have a run folder to oneself, or to the shards of one run, while the block runs.

    What a killed process left is put right first, unless other shards are at work. The folder is
    made if it is not there, and is gone again if nothing was written into it.

    Args:
        folder: The run folder.
        progress: Told where the file system has no locks.
        shard: The share of the rows that is scored, if others may be at work on theirs.
        patience: Seconds to wait for another run to end.

    Raises:
        UserError: Another run is at work there, or the same shard; names it.
    """
    path = folder.path.resolve()
    if path in _HELD.get():
        yield
        return
    _refuse_file(folder.path)
    with ExitStack() as stack:
        stack.enter_context(_folder_made(path))
        try:
            if shard.is_whole:
                stack.enter_context(_alone(folder, patience))
            else:
                stack.enter_context(_beside_other_shards(folder, shard))
        except OSError as fault:
            _go_on_without(fault, folder.path, progress or Silent())
        stack.enter_context(_noted(path))
        yield


@contextmanager
def at_work_on(result: Path, progress: Progress | None = None) -> Iterator[None]:
    """Have a folder that is only ever replaced as a whole to oneself while the block runs.

    The lock is a file beside it. Drafts that a killed process left beside it are put right first.

    Raises:
        UserError: Another process is at work on it; names it.
    """
    path = result.resolve()
    if path in _HELD.get():
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(_folder_made(path.parent))
        try:
            lock = path.with_name(f".{path.name}{LOCK}")
            stack.enter_context(_held(lock, "Another process", MOMENT))
            put_right(path.parent, path.name)
        except _BusyError as busy:
            raise UserError(f"{busy} is at work on {result}: {_WHAT_TO_DO}") from busy
        except OSError as fault:
            _go_on_without(fault, result, progress or Silent())
        stack.enter_context(_noted(path))
        yield


_WHAT_TO_DO = "wait for it or stop it, or name another --out."


@contextmanager
def _alone(folder: RunFolder, patience: float) -> Iterator[None]:
    try:
        with _held(folder.path / LOCK, "Another run", patience):
            _refuse_shards(folder.path)
            _put_folder_right(folder)
            yield
    except _BusyError as busy:
        raise UserError(f"{busy} is at work in {folder.path}: {_WHAT_TO_DO}") from busy


@contextmanager
def _beside_other_shards(folder: RunFolder, shard: Shard) -> Iterator[None]:
    own = folder.path / f".shard-{shard.index}-of-{shard.count}.lock"
    with ExitStack() as stack:
        try:
            with _held(folder.path / LOCK, f"Shard {shard}", TURN):
                stack.enter_context(_held(own, f"Shard {shard}", 0))
                with suppress(_BusyError):
                    _refuse_shards(folder.path, but=own)
                    _put_folder_right(folder)
        except _BusyError as busy:
            raise UserError(
                f"{busy} is at work in {folder.path}: {_WHAT_TO_DO} Each shard is started once."
            ) from busy
        yield


@contextmanager
def _held(path: Path, holder: str, patience: float) -> Iterator[None]:
    """Hold a lock file, which tells others who does.

    Raises:
        _BusyError: It is not free within so many seconds.
        OSError: There are no locks here, or the file cannot be made.
    """
    # The library's stand-in for a lock that is missing would outlive a killed process.
    lock = FileLock(path, fallback_to_soft=False, poll_interval=0.02)
    try:
        lock.acquire(timeout=patience)
    except Timeout as taken:
        raise _BusyError(_told_by(path)) from taken
    except OSError as fault:
        if fault.errno in _WITHOUT_LOCKS:
            path.unlink(missing_ok=True)
        raise
    try:
        with suppress(OSError):  # Windows lets nobody write into a locked file
            path.write_text(json.dumps(_record(holder)), encoding="utf-8")
        yield
    finally:
        # While it is held: who waits for it then finds that its file has no name, and starts over.
        with suppress(OSError):
            path.unlink()
        lock.release()


def _record(holder: str) -> dict[str, str | int]:
    since = datetime.now(timezone.utc).isoformat(sep=" ", timespec="seconds")
    return {"holder": holder, "pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _told_by(path: Path) -> str:
    """Who holds a lock file, as far as it tells."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        about = f"process {record['pid']} on {record['host']}, since {record['since']}"
        return f"{record['holder']} ({about})"
    except (OSError, ValueError, LookupError, TypeError):
        return "Another process"


def _refuse_shards(folder: Path, but: Path | None = None) -> None:
    """See that no shard but one is at work in a folder."""
    for path in sorted(folder.glob(SHARD_LOCKS)):
        if path != but:
            with _held(path, "", 0):
                pass


def _put_folder_right(folder: RunFolder) -> None:
    """Clear away what a killed run left, while nobody else can be at work."""
    trials = folder.search / "trials"
    for place in (folder.path, folder.scores, folder.search, trials, folder.redacted):
        if place == folder.path or not place.is_symlink():
            put_right(place)
    if not folder.overrides.is_symlink():
        mend_last_line(folder.overrides)


@contextmanager
def _folder_made(folder: Path) -> Iterator[None]:
    """Make a folder if it is not there, and take it away again if it is empty at the end."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty
            for path in made:
                path.rmdir()


@contextmanager
def _noted(folder: Path) -> Iterator[None]:
    token = _HELD.set(_HELD.get() | {folder})
    try:
        yield
    finally:
        _HELD.reset(token)


def _refuse_file(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} exists and is no run folder: name another --out.")


def _go_on_without(fault: OSError, place: Path, progress: Progress) -> None:
    """Go on without a lock, where there are none or nothing can be written anyway."""
    if is_full_disk(fault):
        raise full_disk(place) from fault
    if fault.errno in _WITHOUT_LOCKS:
        progress.warn(
            f"The file system of {place} has no locks ({fault.strerror}): see to it that no other "
            "run is at work there."
        )
    elif fault.errno not in _NOT_OURS:
        raise fault
