"""Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradshield.bounds import most_bytes
from gradshield.data.containers.arrow import joined_table, readable, table_rows
from gradshield.data.containers.base import FileFacts, check_positions, replacing
from gradshield.data.containers.expansion import VALUE_BYTES, within_bounds
from gradshield.data.rows import SourceRow

KIND = "Parquet file"


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

    def read(self, path: Path) -> list[SourceRow]:
        """See `Container.read`."""
        rows: list[SourceRow] = []
        with readable(path, KIND):
            _check_expansion(path)
            for batch in _open(path).iter_batches(batch_size=1000):
                rows += [
                    SourceRow(len(rows) + index, None, value)
                    for index, value in enumerate(table_rows(batch))
                ]
        return rows

    def write_subset(self, source: Path, positions: Sequence[int], target: Path) -> None:
        """See `Container.write_subset`."""
        table = read_parquet(source)
        check_positions(positions, table.num_rows, source)
        subset = table.take(pa.array(positions, type=pa.int64()))
        with replacing(source, target) as temporary:
            pq.write_table(subset, temporary)

    def join(self, parts: Sequence[Path], target: Path) -> None:
        """See `Container.join`."""
        table = joined_table([read_parquet(part) for part in parts], parts)
        with replacing(parts[0], target) as temporary:
            pq.write_table(table, temporary)


def read_parquet(path: Path) -> Any:
    """The table in a Parquet file.

    Raises:
        DataError: It is damaged.
    """
    # Not `read_table`: it would add columns for folders that are named "key=value".
    with readable(path, KIND):
        return _open(path).read()


def _check_expansion(path: Path) -> None:
    """Refuse a file whose values would fill the memory once they are spelled out.

    Long text is kept once in a column's dictionary and named by many rows. Read as dictionaries,
    columns are no larger than the file.

    Raises:
        DataError: See `within_bounds`.
    """
    file = _open(path)
    groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    # At worst each value is as long as its whole column.
    worst = sum(c.num_values * (c.total_uncompressed_size + VALUE_BYTES) for c in columns)
    if worst > most_bytes():
        texts = [
            leaf.path
            for leaf in map(file.schema.column, range(len(file.schema)))
            if leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type != "DECIMAL"
        ]
        folded = pq.ParquetFile(path, read_dictionary=texts)
        for _ in within_bounds(folded.iter_batches(batch_size=1000), path):
            pass


def _open(path: Path) -> pq.ParquetFile:
    with readable(path, KIND):
        return pq.ParquetFile(path)
