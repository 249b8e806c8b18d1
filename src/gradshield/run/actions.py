"""What a run does to the rows besides dropping some: a file of all of them, with new columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from gradshield.data import DataSource, SourceRow
from gradshield.data.containers import Container
from gradshield.data.containers.arrow import check_same_columns
from gradshield.data.containers.arrow_file import read_arrow
from gradshield.data.containers.base import picked
from gradshield.data.containers.datasets_folder import DatasetsFolderContainer
from gradshield.data.containers.parquet import picked_tables, schema_of, write_row_groups
from gradshield.data.parts import Part, write_parts
from gradshield.errors import UserError
from gradshield.run.folder import RunFolder
from gradshield.run.overrides import Override
from gradshield.run.threshold import divide
from gradshield.scoring.table import ScoreColumns

FIHS, DECISION, WEIGHT = "gradshield_fihs", "gradshield_decision", "gradshield_weight"

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "drop": (),
    "annotate": (FIHS, DECISION),
    "downweight": (FIHS, DECISION, WEIGHT),
    "mask": (),
}
"""What each action adds to a row; `mask` writes a file of another shape, see `masking`."""

_TYPES = {FIHS: pa.float64(), DECISION: pa.string(), WEIGHT: pa.float64()}
_TABLES = ("parquet", "arrow", "datasets")
"""Containers that store columns; rows of the others are written as JSON Lines."""


def row_weight(
    fihs: float | None, threshold: float, unscored: float = 0.0, *, ruled: str | None = None
) -> float:
    """How much of a row's loss to train on, in [0, 1].

    A row below the threshold counts whole. The gradient of w times a row's loss is w times its
    gradient, so its FIHS is w times the row's own: threshold / FIHS cuts a removed row back to the
    pull of a row at the threshold. The weight is 1 just there and falls as the score rises. Where
    the threshold is not positive there is no such harmful pull to cut back to: the weight is 0.

    Args:
        fihs: Score of the row, None if it was rejected.
        threshold: Rows at or above it are removed; infinite where none is.
        unscored: The weight of a rejected row.
        ruled: A reviewer's word: a row to keep counts whole, one to remove not at all.
    """
    if ruled is not None:
        return 1.0 if ruled == "keep" else 0.0
    if fihs is None:
        return unscored
    if fihs < threshold:
        return 1.0
    return threshold / fihs if threshold > 0 else 0.0


def new_columns(
    table: ScoreColumns,
    threshold: float,
    action: str,
    *,
    unscored: float = 0.0,
    overrides: Mapping[int, Override] = MappingProxyType({}),
) -> dict[str, list[Any]]:
    """The columns that an action adds, each with one value a row, in the order of the rows.

    Args:
        table: The whole score table.
        threshold: Rows at or above it are removed.
        action: One of `COLUMNS`.
        unscored: The weight of a rejected row.
        overrides: Those in effect, by row.
    """
    scores = table.scores()
    ruled = {row: override.action for row, override in overrides.items()}
    columns: dict[str, Callable[[], list[Any]]] = {
        FIHS: lambda: scores,
        DECISION: lambda: divide(table, threshold, overrides).outcomes.tolist(),
        WEIGHT: lambda: [
            row_weight(fihs, threshold, unscored, ruled=ruled.get(row))
            for row, fihs in enumerate(scores)
        ],
    }
    return {name: columns[name]() for name in COLUMNS[action]}


def check_columns(source: DataSource, action: str) -> None:
    """Refuse rows that have a key of their own where an action would write.

    Raises:
        UserError: Names the first such row, and the key.
    """
    if not COLUMNS[action]:
        return
    for row in source.rows():
        for key in COLUMNS[action]:
            if row.value is not None and key in row.value:
                raise UserError(
                    f"{source.name}: {row.place} has the key {key} already, which --action "
                    f"{action} would overwrite: rename it in the data, or use --action drop."
                )


def write_annotated(
    source: DataSource,
    columns: Mapping[str, Sequence[Any]],
    folder: RunFolder,
    shards: int | None = None,
) -> int:
    """Write every row of `source` with the new columns, whole or not at all.

    Parquet, Arrow and `datasets` folders become `annotated.parquet` with their schema and the
    columns after it. All other rows become `annotated.jsonl`, the new keys last; what is no JSON
    object can take no keys and is left out (it is in the rejected file, as it came in). Several
    files, or `shards`, become a folder `annotated` of such files.

    Returns:
        The number of rows written.

    Raises:
        UserError: A row holds a value that JSON lacks.
        DataError: The files of the input have different columns, and `shards` would mix them.
    """
    rows: Sequence[int] = range(sum(source.counts))
    write: Callable[[Part, Path], None]
    if source.container.name in _TABLES:
        suffix, write = ".parquet", partial(_write_table, source, columns)
    else:
        rows = [row.position for row in source.rows() if row.value is not None]
        suffix, write = ".jsonl", partial(_write_lines, source, columns)
    parts = source.parts(rows, "annotated", suffix, shards)
    folder.keep_only("annotated", write_parts(parts, folder.path, write))
    return len(rows)


def _write_table(
    source: DataSource, columns: Mapping[str, Sequence[Any]], part: Part, target: Path
) -> None:
    paths = [path for path, _ in part.pieces]
    schemas = [_schema(source, path) for path in paths]
    check_same_columns(schemas, paths)
    schema = schemas[0]
    for name in columns:
        schema = schema.append(pa.field(name, _TYPES[name]))
    write_row_groups(_with_columns(source, columns, part), schema, target)


def _with_columns(
    source: DataSource, columns: Mapping[str, Sequence[Any]], part: Part
) -> Iterator[Any]:
    done = 0
    for table in (table for piece in part.pieces for table in _tables(source, *piece)):
        rows = part.rows[done : done + len(table)]
        for name, values in columns.items():
            own = pa.array([values[row] for row in rows], _TYPES[name])
            table = table.append_column(name, own)
        yield table
        done += len(table)


def _schema(source: DataSource, path: Path) -> Any:
    container = source.container
    return schema_of(path) if container.name == "parquet" else _whole_table(container, path).schema


def _tables(source: DataSource, path: Path, rows: Sequence[int]) -> Iterator[Any]:
    """Rows of a file as tables; few at a time where the container allows it."""
    if source.container.name == "parquet":
        return picked_tables(path, rows)
    return iter([_whole_table(source.container, path).take(pa.array(rows, pa.int64()))])


def _whole_table(container: Container, path: Path) -> Any:
    if isinstance(container, DatasetsFolderContainer):
        return container.table(path)
    return read_arrow(path)


def _write_lines(
    source: DataSource, columns: Mapping[str, Sequence[Any]], part: Part, target: Path
) -> None:
    positions = iter(part.rows)
    with target.open("wb") as file:
        for path, rows in part.pieces:
            label = source.label(path) if source.is_sharded else None
            for row in picked(partial(source.container.rows, path), rows):
                placed = replace(row, position=next(positions), file=label)
                line = _json_line(placed, columns, source)
                # Half of a surrogate pair has no UTF-8 form but a JSON escape.
                file.write(line.encode("utf-8", "backslashreplace"))


def _json_line(row: SourceRow, columns: Mapping[str, Sequence[Any]], source: DataSource) -> str:
    added = {name: values[row.position] for name, values in columns.items()}
    try:
        return json.dumps({**(row.value or {}), **added}, ensure_ascii=False) + "\n"
    except (TypeError, ValueError, RecursionError) as fault:
        raise UserError(
            f"{source.name}: {row.place} cannot be written as JSON ({fault}): use --action drop."
        ) from fault
