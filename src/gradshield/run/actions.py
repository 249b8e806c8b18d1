"""What a run does to the rows besides dropping some: a file of all of them, with new columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradshield.data import SourceRow, open_container
from gradshield.errors import UserError
from gradshield.files import written_whole
from gradshield.run.folder import RunFolder
from gradshield.run.threshold import divide

FIHS, DECISION, WEIGHT = "gradshield_fihs", "gradshield_decision", "gradshield_weight"

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "drop": (),
    "annotate": (FIHS, DECISION),
    "downweight": (FIHS, DECISION, WEIGHT),
    "mask": (),
}
"""What each action adds to a row; `mask` writes a file of another shape, see `masking`."""

_TYPES = {FIHS: pa.float64(), DECISION: pa.string(), WEIGHT: pa.float64()}
_TABLES = ("parquet", "datasets")
"""Containers that store columns; rows of the others are written as JSON Lines."""


def row_weight(fihs: float | None, threshold: float, unscored: float = 0.0) -> float:
    """How much of a row's loss to train on, in [0, 1].

    A row below the threshold counts whole. The gradient of w times a row's loss is w times its
    gradient, so its FIHS is w times the row's own: threshold / FIHS cuts a removed row back to the
    pull of a row at the threshold. The weight is 1 just there and falls as the score rises. Where
    the threshold is not positive there is no such harmful pull to cut back to: the weight is 0.

    Args:
        fihs: Score of the row, None if it was rejected.
        threshold: Rows at or above it are removed; infinite where none is.
        unscored: The weight of a rejected row.
    """
    if fihs is None:
        return unscored
    if fihs < threshold:
        return 1.0
    return threshold / fihs if threshold > 0 else 0.0


def new_columns(
    lines: Sequence[dict[str, Any]], threshold: float, action: str, *, unscored: float = 0.0
) -> dict[str, list[Any]]:
    """The columns that an action adds, each with one value a row, in the order of the rows.

    Args:
        lines: The whole score table, sorted by row.
        threshold: Rows at or above it are removed.
        action: One of `COLUMNS`.
        unscored: The weight of a rejected row.
    """
    parts = asdict(divide(lines, threshold))
    decisions = {row: name for name, rows in parts.items() for row in rows}
    columns = {
        FIHS: [line["fihs"] for line in lines],
        DECISION: [decisions[line["row"]] for line in lines],
        WEIGHT: [row_weight(line["fihs"], threshold, unscored) for line in lines],
    }
    return {name: columns[name] for name in COLUMNS[action]}


def check_columns(source: Path, action: str) -> None:
    """Refuse rows that have a key of their own where an action would write.

    Raises:
        UserError: Names the first such row, and the key.
    """
    if not COLUMNS[action]:
        return
    for row in open_container(source).read(source):
        for key in COLUMNS[action]:
            if row.value is not None and key in row.value:
                raise UserError(
                    f"{source}: {row.place} has the key {key} already, which --action {action} "
                    "would overwrite: rename it in the data, or use --action drop."
                )


def write_annotated(source: Path, columns: Mapping[str, Sequence[Any]], folder: RunFolder) -> int:
    """Write every row of `source` with the new columns, whole or not at all.

    Parquet and `datasets` folders become `annotated.parquet` with their schema and the columns
    after it. All other rows become `annotated.jsonl`, the new keys last; what is no JSON object
    can take no keys and is left out (it is in the rejected file, as it came in).

    Returns:
        The number of rows written.

    Raises:
        UserError: A row holds a value that JSON lacks.
    """
    container = open_container(source)
    if container.name in _TABLES:
        table = _read_table(source)
        for name, values in columns.items():
            table = table.append_column(name, pa.array(values, _TYPES[name]))
        with written_whole(folder.output("annotated", ".parquet")) as draft:
            pq.write_table(table, draft)
        return int(table.num_rows)
    rows = [row for row in container.read(source) if row.value is not None]
    text = "".join(_json_line(row, columns, source) for row in rows)
    with written_whole(folder.output("annotated", ".jsonl")) as draft:
        # Half of a surrogate pair has no UTF-8 form but a JSON escape.
        draft.write_bytes(text.encode("utf-8", "backslashreplace"))
    return len(rows)


def withdraw_annotated(folder: RunFolder) -> None:
    """Delete the file of an earlier action."""
    for suffix in (".jsonl", ".parquet"):
        folder.output("annotated", suffix).unlink(missing_ok=True)


def _read_table(source: Path) -> Any:
    if source.is_file():
        # Not `read_table`: it would add columns for folders that are named "key=value".
        return pq.ParquetFile(source).read()
    from datasets import DatasetDict, load_from_disk

    loaded = load_from_disk(str(source))
    dataset = next(iter(loaded.values())) if isinstance(loaded, DatasetDict) else loaded
    return dataset.with_format("arrow")[:]


def _json_line(row: SourceRow, columns: Mapping[str, Sequence[Any]], source: Path) -> str:
    added = {name: values[row.position] for name, values in columns.items()}
    try:
        return json.dumps({**(row.value or {}), **added}, ensure_ascii=False) + "\n"
    except (TypeError, ValueError, RecursionError) as fault:
        raise UserError(
            f"{source}: {row.place} cannot be written as JSON ({fault}): use --action drop."
        ) from fault
