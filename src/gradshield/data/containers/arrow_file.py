"""Arrow files, as `datasets` keeps them in its cache: streams, and the random-access format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gradshield.data.containers.arrow import joined_table, readable, rows_of_tables
from gradshield.data.containers.base import FileFacts, check_positions, replacing
from gradshield.data.containers.expansion import within_bounds
from gradshield.data.rows import SourceRow

KIND = "Arrow file"
_MAGIC = b"ARROW1"


@dataclass(frozen=True)
class ArrowFileContainer:
    """An `.arrow` file; a subset is of the same of the two formats, with schema and values."""

    name: str = "arrow"
    suffix: str = ".arrow"

    def matches(self, path: Path) -> bool:
        """See `Container.matches`."""
        return path.is_file() and path.suffix.lower() == self.suffix

    def facts(self, path: Path) -> FileFacts:
        """See `Container.facts`."""
        return FileFacts(read_arrow(path).num_rows)

    def rows(self, path: Path) -> Iterator[SourceRow]:
        """See `Container.rows`; the table is in memory."""
        batches = within_bounds(read_arrow(path).to_batches(max_chunksize=1000), path)
        return rows_of_tables(batches, path, KIND)

    def read(self, path: Path) -> list[SourceRow]:
        """See `Container.read`."""
        return list(self.rows(path))

    def write_subset(self, source: Path, positions: Sequence[int], target: Path) -> None:
        """See `Container.write_subset`."""
        table = read_arrow(source)
        check_positions(positions, table.num_rows, source)
        with replacing(source, target) as temporary:
            _write(table.take(pa.array(positions, type=pa.int64())), temporary, _is_file(source))

    def join(self, parts: Sequence[Path], target: Path) -> None:
        """See `Container.join`."""
        table = joined_table([read_arrow(part) for part in parts], parts)
        with replacing(parts[0], target) as temporary:
            _write(table, temporary, _is_file(parts[0]))


def read_arrow(path: Path) -> Any:
    """The table in an Arrow file of either format.

    Raises:
        DataError: It is damaged.
    """
    with readable(path, KIND), path.open("rb") as file:
        opener = pa.ipc.open_file if _is_file(path) else pa.ipc.open_stream
        with closing(pa.PythonFile(file, mode="r")) as source:
            table = opener(source).read_all()
        # Values are read without a check of where they lie: in a damaged file, anywhere.
        table.validate(full=True)
        return table


def _is_file(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _write(table: Any, target: Path, as_file: bool) -> None:
    opener = pa.ipc.new_file if as_file else pa.ipc.new_stream
    with opener(str(target), table.schema) as writer:
        writer.write_table(table)
