"""Outputs that are never half written, and fingerprints of files."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """Where models and fetched data are kept: `GRADSHIELD_CACHE`, or the user's cache folder."""
    configured = os.environ.get("GRADSHIELD_CACHE")
    return Path(configured) if configured else user_cache_path("gradshield")


@contextmanager
def written_whole(target: Path, *, once: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `target` that takes its place only if the block succeeds.

    Works for a file and for a folder: the block decides which by what it creates.

    Args:
        target: Where it goes.
        once: Leave a file that is there at the end as it is. Of several processes that write the
            same file at the same time, all then read what the first of them wrote.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    draft = workplace / target.name
    try:
        yield draft
        if draft.is_file():
            # Some libraries write for the owner alone.
            draft.chmod(0o666 & ~_umask())
        # A folder cannot be renamed over another one; a link to one is replaced like a file.
        if draft.is_dir() and target.is_symlink():
            target.unlink()
        elif draft.is_dir() and target.is_dir():
            shutil.rmtree(target)
        if once:
            _put_once(draft, target)
        else:
            os.replace(draft, target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _put_once(draft: Path, target: Path) -> None:
    try:
        os.link(draft, target)  # unlike a renaming, it never takes another file's place
    except FileExistsError:
        return
    except OSError:  # a file system without links, where looking first has to do
        if not target.exists():
            os.replace(draft, target)


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
    """Append lines to a UTF-8 text file, all or none, and wait until they are on the disk."""
    if not lines:
        return
    content = "".join(f"{line}\n" for line in lines).encode()
    # Unbuffered and in append mode: one write, which cannot mix with that of another process.
    with target.open("ab", buffering=0) as stream:
        size = stream.tell()
        try:
            if stream.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(size)
            raise
    if size == 0:
        _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until the name of a new file is on the disk, where folders can be waited for."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
