"""Files with one row a line, read and written as bytes, a line at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from gradshield.data.containers.base import FileFacts, check_positions, picked, replacing
from gradshield.data.containers.text import byte_order_mark


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are rows: 1-based number, and bytes with the ending.

    Raises:
        DataError: The file is UTF-16, in which no line could be read.
    """
    return ((number, line) for number, line in _all_lines(path) if line.strip())


def _all_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    mark = byte_order_mark(path)
    with path.open("rb") as file:
        file.seek(len(mark))
        # Only a line feed ends a line: JSON strings may hold other separators that Python knows.
        yield from enumerate(file, start=1)


def line_facts(path: Path) -> FileFacts:
    """See `Container.facts`."""
    rows = blank_lines = 0
    for _, line in _all_lines(path):
        blank = not line.strip()
        blank_lines += blank
        rows += not blank
    marked = byte_order_mark(path)
    notes = (f"{path.name} starts with a UTF-8 byte order mark; it is ignored",) if marked else ()
    return FileFacts(rows, blank_lines, notes)


def write_lines(source: Path, positions: Sequence[int], target: Path) -> None:
    """See `Container.write_subset`: each line keeps its bytes."""
    rows, ending = _rows_and_ending([source])
    check_positions(positions, rows, source)
    with replacing(source, target) as temporary, temporary.open("wb") as file:
        file.write(byte_order_mark(source))
        _write(file, picked(lambda: lines_of(source), positions), ending)


def join_lines(parts: Sequence[Path], target: Path) -> None:
    """See `Container.join`: the first byte order mark stays, the others would be in the middle."""
    _, ending = _rows_and_ending(parts)
    with replacing(parts[0], target) as temporary, temporary.open("wb") as file:
        file.write(max(map(byte_order_mark, parts)))
        _write(file, (line for part in parts for line in lines_of(part)), ending)


def _rows_and_ending(parts: Sequence[Path]) -> tuple[int, bytes]:
    """Number of rows, and what to end a line with that has no ending."""
    rows, ending = 0, b"\n"
    for _, line in (line for part in parts for line in lines_of(part)):
        rows += 1
        if line.endswith(b"\r\n"):
            ending = b"\r\n"
    return rows, ending


def _write(file: BinaryIO, lines: Iterable[tuple[int, bytes]], ending: bytes) -> None:
    """Write lines, with an ending after each but the last, which keeps what it has."""
    ended = True
    for _, line in lines:
        file.write(line if ended else ending + line)
        ended = line.endswith(b"\n")
