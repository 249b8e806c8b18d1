"""Reading some rows of a data file and not the others, so that many machines can share one file."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq

from gradshield.data.containers import Container
from gradshield.data.containers.arrow import readable, table_rows
from gradshield.data.containers.jsonl import JsonlContainer, parse_line
from gradshield.data.containers.parquet import KIND as PARQUET
from gradshield.data.containers.parquet import ParquetContainer
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

    Lines are found by one pass over a file, and Parquet says in its footer where rows are. A file
    of any other container is read whole for each range: for much data, use one of these two.

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
        return _ParquetRanges(path, rows)
    return _WholeFile(path, container, rows)


def all_rows(ranges: RowRanges, rows_at_a_time: int) -> Iterator[list[SourceRow]]:
    """All rows of an input, some at a time."""
    for start in range(0, ranges.total, rows_at_a_time):
        yield ranges.read(range(start, min(start + rows_at_a_time, ranges.total)))


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
            for row in file.read(_within(rows, start, file.total))
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
        if not len(rows):
            return []
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
    with path.open("rb") as file:
        mark = file.read(len(codecs.BOM_UTF8))
        offset = len(mark) if mark == codecs.BOM_UTF8 else 0
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
class _ParquetRanges:
    """A Parquet file, of which the row groups are read that hold a range."""

    path: Path
    total: int

    def part(self, rows: range) -> _ParquetRanges:
        return self

    def read(self, rows: range) -> list[SourceRow]:
        found: list[SourceRow] = []
        with readable(self.path, PARQUET):
            file = pq.ParquetFile(self.path)
            start = 0
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                wanted = range(max(start, rows.start), min(stop, rows.stop))
                if len(wanted):
                    table = file.read_row_group(group).slice(wanted.start - start, len(wanted))
                    values = zip(wanted, table_rows(table), strict=True)
                    found += [SourceRow(row, None, value) for row, value in values]
                start = stop
        return found


@dataclass(frozen=True)
class _WholeFile:
    """A file, or a saved data set, that can only be read from first to last."""

    path: Path
    container: Container
    total: int

    def part(self, rows: range) -> _WholeFile:
        return self

    def read(self, rows: range) -> list[SourceRow]:
        return _read_once(self)[rows.start : rows.stop]


@lru_cache(maxsize=1)
def _read_once(file: _WholeFile) -> list[SourceRow]:
    """The rows of what this process read last; the input of a run must not change."""
    return file.container.read(file.path)
