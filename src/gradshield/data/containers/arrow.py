"""Rows out of Arrow tables, for the containers that store them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from gradshield.data.errors import DataError
from gradshield.data.rows import SourceRow


@contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """Turn what pyarrow raises at damaged content, within the block, into one line.

    Raises:
        DataError: Text that is not UTF-8, a damaged page, JSON that is none, a date that Python
            does not know; these show only as the values are read.
    """
    try:
        yield
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: not a readable {kind}: {reason}") from error


def table_rows(table: Any) -> list[dict[str, Any]]:
    """The rows of a `pyarrow` table or record batch as Python values.

    Columns of Arrow's JSON type, which `datasets` uses for objects of varying keys, are parsed
    at whatever depth they stand.
    """
    json_columns = {field.name: field.type for field in table.schema if _holds_json(field.type)}
    rows: list[dict[str, Any]] = table.to_pylist()
    for name, kind in json_columns.items():
        for row in rows:
            row[name] = _parse_json(row[name], kind)
    return rows


def rows_of_tables(
    tables: Iterable[Any], path: Path, kind: str, start: int = 0
) -> Iterator[SourceRow]:
    """The rows of neighbouring tables, or record batches, of a file.

    Args:
        tables: The tables.
        path: The file, for messages, as is `kind`.
        kind: What the file is called.
        start: Position of the first row.

    Raises:
        DataError: The file is damaged, see `readable`.
    """
    remaining = iter(tables)
    while True:
        # Only reading is in the block: a fault of whoever takes the rows is not thrown in here.
        with readable(path, kind):
            table = next(remaining, None)
            values = [] if table is None else table_rows(table)
        if table is None:
            return
        yield from (SourceRow(start + index, None, value) for index, value in enumerate(values))
        start += len(values)


def joined_table(tables: Sequence[Any], parts: Sequence[Path]) -> Any:
    """One table of several with the same columns.

    Args:
        tables: The tables.
        parts: The files that they come from, for the message.

    Raises:
        DataError: The columns or their types differ.
    """
    check_same_columns([table.schema for table in tables], parts)
    return pa.concat_tables(tables)


def check_same_columns(schemas: Sequence[Any], parts: Sequence[Path]) -> None:
    """Refuse to put rows of several files into one unless they have the same columns.

    Args:
        schemas: Of the files.
        parts: The files, for the message.

    Raises:
        DataError: The columns or their types differ.
    """
    for schema, part in zip(schemas, parts, strict=True):
        if not schema.equals(schemas[0]):
            raise DataError(
                f"{part.name} has other columns than {parts[0].name}, so that their rows cannot "
                "stand in one file; leave out --shards, which keeps the files as they are"
            )


def _is_json(kind: Any) -> bool:
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json"


def _is_list(kind: Any) -> bool:
    checks = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in checks)


def _holds_json(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(_holds_json(field.type) for field in kind)
    if _is_list(kind):
        return _holds_json(kind.value_type)
    return _is_json(kind)


def _parse_json(value: Any, kind: Any) -> Any:
    if value is None or not _holds_json(kind):
        return value
    if pa.types.is_struct(kind):
        return {field.name: _parse_json(value[field.name], field.type) for field in kind}
    if _is_list(kind):
        return [_parse_json(item, kind.value_type) for item in value]
    return json.loads(value)
