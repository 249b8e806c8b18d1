"""Outputs that are never half written, and fingerprints of files."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target` that takes its place only if the block succeeds.

    Works for a file and for a folder: the block decides which by what it creates.
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
        os.replace(draft, target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(target: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with written_whole(target) as draft:
        draft.write_text(text, encoding="utf-8")


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
