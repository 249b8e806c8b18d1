"""What is on the disk, and in which order, whenever the power goes or a process is killed.

A file that takes a name is on the disk before its name is, and the name before anything that relies
on it. What a killed process leaves are drafts, which no reader takes for data; `put_right` clears
them away.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gradshield.errors import UserError, first_line

DRAFT = ".draft"
"""How the folder ends in which a file or folder is written before it takes its place."""

_DRAFT = re.compile(rf"\.(?P<name>.+)\.[a-z0-9_]{{8}}{re.escape(DRAFT)}", re.DOTALL)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXT = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
"""How libraries that are not written in Python tell of it, in exceptions of their own."""


@contextmanager
def drafted(target: Path) -> Iterator[Path]:
    """Give a place beside `target` to write it in; whatever is in it at the end is deleted."""
    make_folder(target.parent)
    name = f".{target.name}."
    workplace = Path(tempfile.mkdtemp(prefix=name, suffix=DRAFT, dir=target.parent))
    try:
        yield workplace / target.name
    finally:
        _settle(workplace, target)


def put_in_place(draft: Path, target: Path) -> None:
    """Let a draft take the place of `target`, once it is on the disk with all that is in it.

    A folder cannot be renamed over another one: the old one is moved aside first, into the folder
    of the draft. Between the two moves there is none, and `put_right` then completes the second.
    """
    sync(draft)
    if draft.is_dir() and (target.is_dir() or target.is_symlink()):
        os.rename(target, _aside(draft))
        sync_folder(draft.parent)
        sync_folder(target.parent)
    os.replace(draft, target)
    sync_folder(target.parent)


def put_in_free_place(draft: Path, target: Path) -> None:
    """The same for a file, unless `target` is there already, which then stays."""
    sync(draft)
    try:
        os.link(draft, target)  # unlike a renaming, it never takes another file's place
    except FileExistsError:
        pass
    except OSError:  # a file system without links, where looking first has to do
        if not target.exists():
            os.replace(draft, target)
    # The file of another process too: what follows here relies on it.
    sync_folder(target.parent)


def remove(path: Path) -> None:
    """Delete a file or a folder, whole or not at all; it may be gone already."""
    if path.is_dir() and not path.is_symlink():
        with drafted(path) as draft:
            os.rename(path, _aside(draft))
            sync_folder(path.parent)
    elif os.path.lexists(path):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def put_right(folder: Path, name: str | None = None) -> None:
    """Clear away the drafts that killed processes left in a folder; none may be at work there.

    Args:
        folder: Where to look; nothing below it is looked at. It may not be there.
        name: Only the drafts of this file or folder.
    """
    for workplace in sorted(folder.glob(f".*{DRAFT}")):
        match = _DRAFT.fullmatch(workplace.name)
        if match and name in (None, match["name"]) and not workplace.is_symlink():
            _settle(workplace, folder / match["name"])


def _settle(workplace: Path, target: Path) -> None:
    """Complete a replacement that has begun, and delete the draft's folder."""
    draft = workplace / target.name
    # Only a draft that is whole moves anything aside.
    if os.path.lexists(_aside(draft)) and os.path.lexists(draft) and not os.path.lexists(target):
        os.replace(draft, target)
        sync_folder(target.parent)
    shutil.rmtree(workplace, ignore_errors=True)


def _aside(draft: Path) -> Path:
    return draft.with_name(f"{draft.name}.old")


def sync(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    if not path.is_dir():
        # Windows waits only for files that are open for writing.
        with path.open("rb" if os.name == "posix" else "r+b") as stream:
            os.fsync(stream.fileno())
        return
    for entry in path.iterdir():
        sync(entry)
    sync_folder(path)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where folders can be waited for."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems know no such thing, and write names at once.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and wait until their names are on the disk."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(new):
        sync_folder(path.parent)


@contextmanager
def told_of(target: Path) -> Iterator[None]:
    """Tell the user of which file it was that the system would not write.

    Raises:
        UserError: The disk is full, or the system refused something without saying where.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as fault:
        if is_full_disk(fault):
            raise full_disk(target) from fault
        if isinstance(fault, OSError) and fault.filename is None:
            why = fault.strerror or first_line(fault)
            raise UserError(
                f"{_final(target)} cannot be written: {why}. {_NOTHING_LOST}"
            ) from fault
        raise


def is_full_disk(fault: BaseException) -> bool:
    """Whether an exception says that there is no more room."""
    number = fault.errno if isinstance(fault, OSError) else None
    return number in _FULL or any(text in str(fault) for text in _FULL_TEXT)


def full_disk(place: str | Path) -> UserError:
    """What a user is told when there is no more room for a file."""
    return UserError(
        f"{_final(Path(place))} cannot be written: the disk is full, or a quota is used up. Make "
        f"room. {_NOTHING_LOST}"
    )


_NOTHING_LOST = (
    "Nothing was left half written: the same command goes on from what is done, when this is "
    "mended."
)


def _final(path: Path) -> Path:
    """The place that a file of a draft is to have."""
    return Path(*(part for part in path.parts if not _DRAFT.fullmatch(part)))
