"""Reading some rows of a data file and not the others, so that many machines can share one file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gradshield.data.containers import Container
from gradshield.data.containers.jsonl import JsonlContainer, parse_line
from gradshield.data.containers.parquet import (
    ParquetContainer,
    check_batches,
    group_starts,
    rows_from_group,
)
from gradshield.data.containers.text import byte_order_mark
from gradshield.data.rows import SourceRow
from gradshield.data.source import DataSource

STRIDE = 128
"""Rows from one place in a file of lines that is known to the next."""


class RowRanges(Protocol):
    """An input of which any range of rows can be read; it can be sent elsewhere."""

    @property
    def total(self) -> int:
        """Rows of the whole input."""

    def part(self, rows: range) -> RowRanges:
        """The same, with no more knowledge than these rows need."""

    def read(self, rows: range) -> list[SourceRow]:
        """The rows at these neighbouring positions, as in `DataSource.read` of all."""


def row_ranges(source: DataSource) -> RowRanges:
    """Find out where the rows of an input are, without parsing them.

    Lines are found by one pass over a file, and Parquet says in its footer where row groups are. A
    file of any other container is read from its beginning, for each range that does not come after
    the one before it: for much data and many machines, use one of these two.

    Raises:
        DataError: A file cannot be used.
    """
    files = [
        _file_ranges(path, source.container, count)
        for path, count in zip(source.files, source.counts, strict=True)
    ]
    if not source.is_sharded:
        return files[0]
    starts = accumulate(source.counts, initial=0)
    labels = map(source.label, source.files)
    return _Files(tuple(zip(starts, labels, files, strict=False)), sum(source.counts))


def _file_ranges(path: Path, container: Container, rows: int) -> RowRanges:
    path = path.resolve()
    if isinstance(container, JsonlContainer):
        return _find_lines(path)
    if isinstance(container, ParquetContainer):
        check_batches(path)
        return _InTurn(path, container, rows, tuple(group_starts(path)[:-1]))
    return _InTurn(path, container, rows)


def all_rows(ranges: RowRanges, rows_at_a_time: int) -> Iterator[list[SourceRow]]:
    """All rows of an input, some at a time."""
    return map(ranges.read, parts_of(ranges.total, rows_at_a_time))


def parts_of(total: int, rows_at_a_time: int) -> Iterator[range]:
    """Ranges of neighbouring rows that make up all."""
    for start in range(0, total, rows_at_a_time):
        yield range(start, min(start + rows_at_a_time, total))


@dataclass(frozen=True)
class _Files:
    """Several files, each with the position of its first row and its name in messages."""

    files: tuple[tuple[int, str, RowRanges], ...]
    total: int

    def part(self, rows: range) -> _Files:
        needed = [
            (start, label, file.part(_within(rows, start, file.total)))
            for start, label, file in self.files
            if len(_within(rows, start, file.total))
        ]
        return _Files(tuple(needed), self.total)

    def read(self, rows: range) -> list[SourceRow]:
        return [
            replace(row, position=start + row.position, file=label)
            for start, label, file in self.files
            if len(own := _within(rows, start, file.total))
            for row in file.read(own)
        ]


def _within(rows: range, start: int, count: int) -> range:
    """The rows of a file, by their positions in it, that are in a range of the input."""
    return range(max(rows.start - start, 0), min(rows.stop - start, count))


@dataclass(frozen=True)
class _Lines:
    """JSON Lines.

    Attributes:
        path: The file.
        total: Rows of the file.
        first: Row of the first known place, a multiple of `STRIDE`.
        places: For every `STRIDE`-th row from `first` on, and for the end, its offset in bytes and
            its 0-based line, [places, 2].
    """

    path: Path
    total: int
    first: int
    places: np.ndarray[Any, np.dtype[np.int64]]

    def part(self, rows: range) -> _Lines:
        start, stop = self._around(rows)
        first = self.first + start * STRIDE
        return _Lines(self.path, self.total, first, self.places[start : stop + 1].copy())

    def read(self, rows: range) -> list[SourceRow]:
        before, after = self._around(rows)
        offset, line = self.places[before].tolist()
        with self.path.open("rb") as file:
            file.seek(offset)
            content = file.read(int(self.places[after][0]) - offset)
        position = self.first + before * STRIDE
        found: list[SourceRow] = []
        # Only a line feed ends a line: other separators that Python knows may stand in strings.
        for number, text in enumerate(_with_endings(content), start=line + 1):
            if text.strip():
                if position in rows:
                    found.append(parse_line(text, position, number, self.path))
                position += 1
        return found

    def _around(self, rows: range) -> tuple[int, int]:
        """Which known places come before and after some rows."""
        start, stop = rows.start - self.first, rows.stop - self.first
        return start // STRIDE, -(-stop // STRIDE)


def _with_endings(content: bytes) -> list[bytes]:
    *lines, rest = content.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])


def _find_lines(path: Path) -> _Lines:
    places = []
    offset = len(byte_order_mark(path))
    with path.open("rb") as file:
        file.seek(offset)
        rows = number = 0
        for number, line in enumerate(file, start=1):
            if line.strip():
                if rows % STRIDE == 0:
                    places.append((offset, number - 1))
                rows += 1
            offset += len(line)
    places.append((offset, number))
    return _Lines(path, rows, 0, np.array(places, dtype=np.int64))


@dataclass(frozen=True)
class _InTurn:
    """A file, or a saved data set, that is read from a place to its end, some rows at a time.

    Attributes:
        path: The file.
        container: What kind of file it is.
        total: Rows of the file.
        starts: Rows that reading can begin at: the first, and those of each row group of Parquet.
    """

    path: Path
    container: Container
    total: int
    starts: tuple[int, ...] = (0,)

    def part(self, rows: range) -> _InTurn:
        return self

    def read(self, rows: range) -> list[SourceRow]:
        place = bisect_right(self.starts, rows.start) - 1
        at, reading = _LEFT_OFF.pop(self, (-1, iter(())))
        if not self.starts[place] <= at <= rows.start:
            at, reading = self.starts[place], self._from(place)
        found = list(islice(reading, rows.start - at, rows.stop - at))
        _LEFT_OFF.clear()
        if rows.stop < self.total:
            _LEFT_OFF[self] = rows.stop, reading
        return found

    def _from(self, place: int) -> Iterator[SourceRow]:
        if isinstance(self.container, ParquetContainer):
            return rows_from_group(self.path, place)
        return self.container.rows(self.path)


_LEFT_OFF: dict[_InTurn, tuple[int, Iterator[SourceRow]]] = {}
"""The file that this process read last: its next row, and those that follow. Rows are asked for in
order, as a rule, so that a file is read once; the input of a run must not change."""
