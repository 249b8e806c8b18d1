"""Outputs that are never half written, and fingerprints of files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from gradshield.durable import drafted, put_in_free_place, put_in_place, sync_folder, told_of


def cache_folder() -> Path:
    """Where models and fetched data are kept: `GRADSHIELD_CACHE`, or the user's cache folder."""
    configured = os.environ.get("GRADSHIELD_CACHE")
    return Path(configured) if configured else user_cache_path("gradshield")


@contextmanager
def written_whole(target: Path, *, once: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `target` that takes its place only if the block succeeds.

    Works for a file and for a folder: the block decides which by what it creates. When this
    returns, all of it is on the disk.

    Args:
        target: Where it goes.
        once: Leave a file that is there at the end as it is. Of several processes that write the
            same file at the same time, all then read what the first of them wrote.

    Raises:
        UserError: The disk is full; `target` is as it was.
    """
    with told_of(target), drafted(target) as draft:
        yield draft
        if draft.is_file():
            # Some libraries write for the owner alone.
            draft.chmod(0o666 & ~_umask())
        if once:
            put_in_free_place(draft, target)
        else:
            put_in_place(draft, target)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(target: Path, text: str, *, once: bool = False) -> None:
    """Write a UTF-8 text file whole or not at all; see `written_whole`."""
    with written_whole(target, once=once) as draft:
        # Half of a surrogate pair, as names of files can hold, has no UTF-8 form.
        draft.write_bytes(text.encode("utf-8", "backslashreplace"))


def append_lines(target: Path, lines: Sequence[str]) -> None:
    """Append lines to a UTF-8 text file, all or none, and wait until they are on the disk.

    Raises:
        UserError: The disk is full; the file is as it was.
    """
    if not lines:
        return
    content = "".join(f"{line}\n" for line in lines).encode()
    # Unbuffered and in append mode: one write, which cannot mix with that of another process.
    with told_of(target), target.open("ab", buffering=0) as stream:
        size = stream.tell()
        try:
            if stream.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(size)
            raise
    if size == 0:
        sync_folder(target.parent)


def mend_last_line(target: Path) -> None:
    """Delete the last line of a file of JSON Lines where it was cut short.

    When the power goes, a part of what was being appended can be on the disk; nobody was told that
    it was written. A line that lacks its line feed alone, as some editors leave it, gets one.
    """
    if not target.is_file():
        return
    with target.open("r+b") as stream:
        content = stream.read()
        last = content[content.rfind(b"\n") + 1 :]
        if not last:
            return
        if _is_json(last):
            stream.write(b"\n")
        else:
            stream.truncate(len(content) - len(last))
        stream.flush()
        os.fsync(stream.fileno())


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their names, in hexadecimal."""
    if path.is_dir():
        listing = [
            f"{_escaped(entry.relative_to(path).as_posix())} {sha256_of(entry)}"
            for entry in sorted(path.rglob("*"))
            if entry.is_file()
        ]
        return hashlib.sha256("\n".join(listing).encode()).hexdigest()
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def _escaped(name: str) -> str:
    """A file name without line feeds, which could forge a line, and bytes that are not UTF-8."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n") if "\n" in name else name
    return escaped.encode("utf-8", "backslashreplace").decode("utf-8")
