"""Parquet files, read and written some rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gradshield.bounds import most_bytes
from gradshield.data.containers.arrow import check_same_columns, readable, rows_of_tables
from gradshield.data.containers.base import FileFacts, check_positions, replacing
from gradshield.data.containers.expansion import VALUE_BYTES, within_bounds
from gradshield.data.rows import SourceRow

KIND = "Parquet file"
AT_A_TIME = 1000
"""Rows that are in memory at a time while a file is read."""
ROW_GROUP = 1 << 14
"""Rows, at least, of a row group that is written; those of one are in memory at a time."""


@dataclass(frozen=True)
class ParquetContainer:
    """One Parquet file; a subset has its schema, metadata included, and its values."""

    name: str = "parquet"
    suffix: str = ".parquet"

    def matches(self, path: Path) -> bool:
        """See `Container.matches`."""
        return path.is_file() and path.suffix.lower() == self.suffix

    def facts(self, path: Path) -> FileFacts:
        """See `Container.facts`."""
        return FileFacts(_open(path).metadata.num_rows)

    def rows(self, path: Path) -> Iterator[SourceRow]:
        """See `Container.rows`."""
        check_batches(path)
        yield from rows_from_group(path, 0)

    def read(self, path: Path) -> list[SourceRow]:
        """See `Container.read`."""
        _check_expansion(path)
        return list(rows_from_group(path, 0))

    def write_subset(self, source: Path, positions: Sequence[int], target: Path) -> None:
        """See `Container.write_subset`."""
        file = _open(source)
        check_positions(positions, file.metadata.num_rows, source)
        with replacing(source, target) as temporary, readable(source, KIND):
            write_row_groups(picked_tables(source, positions), file.schema_arrow, temporary)

    def join(self, parts: Sequence[Path], target: Path) -> None:
        """See `Container.join`."""
        schemas = [schema_of(part) for part in parts]
        check_same_columns(schemas, parts)
        with replacing(parts[0], target) as temporary:
            tables = (table for part in parts for table in tables_of(part))
            write_row_groups(tables, schemas[0], temporary)


def schema_of(path: Path) -> Any:
    """The `pyarrow` schema of a file.

    Raises:
        DataError: The file is damaged.
    """
    return _open(path).schema_arrow


def tables_of(path: Path, first_group: int = 0) -> Iterator[Any]:
    """The values of a file from a row group on, some rows at a time, as `pyarrow` tables.

    Raises:
        DataError: The file is damaged.
    """
    file = _open(path)
    groups = list(range(first_group, file.num_row_groups))
    with readable(path, KIND):
        # Not `read_table`: it would add columns for folders that are named "key=value".
        for batch in file.iter_batches(batch_size=AT_A_TIME, row_groups=groups):
            yield pa.Table.from_batches([batch])


def rows_from_group(path: Path, group: int) -> Iterator[SourceRow]:
    """The rows of a file from a row group on.

    Raises:
        DataError: The file is damaged.
    """
    return rows_of_tables(tables_of(path, group), path, KIND, start=group_starts(path)[group])


def group_starts(path: Path) -> list[int]:
    """Position of the first row of each row group, and after them the number of rows."""
    metadata = _open(path).metadata
    sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    return list(accumulate(sizes, initial=0))


def write_row_groups(tables: Iterable[Any], schema: Any, target: Path) -> None:
    """Write tables of one schema, one after the other, with no more than a row group in memory.

    What fits into one row group is written as `pyarrow.parquet.write_table` would.
    """
    with pq.ParquetWriter(target, schema) as writer:
        for group in _row_groups(tables, schema.empty_table()):
            writer.write_table(group)


def _row_groups(tables: Iterable[Any], without_rows: Any) -> Iterator[Any]:
    """Tables joined to as many rows as a row group has; at least one, which may be without rows."""
    waiting = [without_rows]
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= ROW_GROUP:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def picked_tables(path: Path, positions: Sequence[int]) -> Iterator[Any]:
    """The rows at positions, in the given order, as tables; one pass where positions ascend."""
    wanted = np.asarray(positions, dtype=np.int64)
    for run in np.split(wanted, np.flatnonzero(np.diff(wanted) < 0) + 1):
        start = 0
        for table in tables_of(path):
            first, last = np.searchsorted(run, [start, start + len(table)])
            if last > first:
                yield table.take(pa.array(run[first:last] - start))
            start += len(table)


def check_batches(path: Path) -> None:
    """Refuse a file of which the rows that are in memory at a time would fill it.

    Raises:
        DataError: See `within_bounds`.
    """
    if _may_expand(path):
        with readable(path, KIND):
            for batch in _folded(path):
                list(within_bounds([batch], path))


def _check_expansion(path: Path) -> None:
    """Refuse a file whose values would fill the memory once all are spelled out.

    Raises:
        DataError: See `within_bounds`.
    """
    if _may_expand(path):
        with readable(path, KIND):
            for _ in within_bounds(_folded(path), path):
                pass


def _may_expand(path: Path) -> bool:
    """Whether the values fill the memory if each is as long as its whole column: at worst."""
    metadata = _open(path).metadata
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    worst = sum(c.num_values * (c.total_uncompressed_size + VALUE_BYTES) for c in columns)
    return bool(worst > most_bytes())


def _folded(path: Path) -> Iterator[Any]:
    """The rows, some at a time, with texts as dictionaries: no larger than they are in the file.

    Long text is kept once in a column's dictionary and named by many rows.
    """
    file = _open(path)
    texts = [
        leaf.path
        for leaf in map(file.schema.column, range(len(file.schema)))
        if leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type != "DECIMAL"
    ]
    yield from pq.ParquetFile(path, read_dictionary=texts).iter_batches(batch_size=AT_A_TIME)


def _open(path: Path) -> pq.ParquetFile:
    with readable(path, KIND):
        # Buffered: else a column of a row group, which may be the whole file, is read at once.
        return pq.ParquetFile(path, buffer_size=1 << 20)
