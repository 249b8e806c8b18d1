"""Reading some rows of a data file and not the others, so that many machines can share one file."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq

from gradshield.data.containers import open_container
from gradshield.data.containers.arrow import readable, table_rows
from gradshield.data.containers.jsonl import JsonlContainer, parse_line
from gradshield.data.containers.parquet import KIND as PARQUET
from gradshield.data.containers.parquet import ParquetContainer
from gradshield.data.rows import SourceRow


class RowRanges(Protocol):
    """A data file of which any range of rows can be read; the ranges can be sent elsewhere."""

    @property
    def total(self) -> int:
        """Rows of the whole file."""

    def part(self, rows: range) -> RowRanges:
        """The same, with no more knowledge than these rows need."""

    def read(self, rows: range) -> list[SourceRow]:
        """The rows at these positions, as `Container.read` of the whole file would give them.

        Args:
            rows: Neighbouring positions; they begin at a multiple of the stride and end before
                one, or with the file.
        """


def row_ranges(path: Path, stride: int) -> RowRanges:
    """Find out where the rows of a data file are, without parsing them.

    Lines are found by one pass over the file, and Parquet says in its footer where rows are. Any
    other container is read whole for each range: for much data, use one of these two.

    Args:
        path: The file.
        stride: Every range that is read begins at a multiple of this number of rows.

    Raises:
        DataError: The file cannot be used.
    """
    container = open_container(path)
    if isinstance(container, JsonlContainer):
        return _find_lines(path, stride)
    if isinstance(container, ParquetContainer):
        return _ParquetRanges(path, container.facts(path).rows)
    return _WholeFile(path, container.facts(path).rows)


def all_rows(ranges: RowRanges, rows_at_a_time: int) -> Iterator[list[SourceRow]]:
    """All rows of a file, some at a time; their number is a multiple of the stride."""
    for start in range(0, ranges.total, rows_at_a_time):
        yield ranges.read(range(start, min(start + rows_at_a_time, ranges.total)))


@dataclass(frozen=True)
class _Lines:
    """JSON Lines.

    Attributes:
        path: The file.
        total: Rows of the file.
        stride: Rows from one known place to the next.
        first: Row of the first known place.
        places: For every `stride`-th row from `first` on, and for the end, its offset in bytes and
            its 0-based line, [places, 2].
    """

    path: Path
    total: int
    stride: int
    first: int
    places: np.ndarray[Any, np.dtype[np.int64]]

    def part(self, rows: range) -> _Lines:
        start, stop = self._place(rows.start), self._place(rows.stop)
        places = self.places[start : stop + 1].copy()
        return _Lines(self.path, self.total, self.stride, rows.start, places)

    def read(self, rows: range) -> list[SourceRow]:
        start, line = self.places[self._place(rows.start)].tolist()
        stop = int(self.places[self._place(rows.stop)][0])
        with self.path.open("rb") as file:
            file.seek(start)
            content = file.read(stop - start)
        found: list[SourceRow] = []
        # Only a line feed ends a line: other separators that Python knows may stand in strings.
        for number, text in enumerate(_with_endings(content), start=line + 1):
            if text.strip():
                found.append(parse_line(text, rows.start + len(found), number, self.path))
        return found

    def _place(self, row: int) -> int:
        return -(-(row - self.first) // self.stride)


def _with_endings(content: bytes) -> list[bytes]:
    *lines, rest = content.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])


def _find_lines(path: Path, stride: int) -> _Lines:
    places = []
    with path.open("rb") as file:
        mark = file.read(len(codecs.BOM_UTF8))
        offset = len(mark) if mark == codecs.BOM_UTF8 else 0
        file.seek(offset)
        rows = number = 0
        for number, line in enumerate(file, start=1):
            if line.strip():
                if rows % stride == 0:
                    places.append((offset, number - 1))
                rows += 1
            offset += len(line)
    places.append((offset, number))
    return _Lines(path, rows, stride, 0, np.array(places, dtype=np.int64))


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
    """A file that can only be read from first to last."""

    path: Path
    total: int

    def part(self, rows: range) -> _WholeFile:
        return self

    def read(self, rows: range) -> list[SourceRow]:
        return _read_once(self.path)[rows.start : rows.stop]


@lru_cache(maxsize=1)
def _read_once(path: Path) -> list[SourceRow]:
    """The rows of the file that this process read last; a run has one, which must not change."""
    return open_container(path).read(path)
