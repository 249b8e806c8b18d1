"""The kinds of file that rows can come from and go back to, and choosing one for a path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gradshield.data.containers.arrow_file import ArrowFileContainer
from gradshield.data.containers.base import Container, FileFacts
from gradshield.data.containers.compressed import COMPRESSIONS, CompressedContainer
from gradshield.data.containers.csv import CsvContainer
from gradshield.data.containers.datasets_folder import DatasetsFolderContainer
from gradshield.data.containers.json_array import JsonArrayContainer
from gradshield.data.containers.jsonl import JsonlContainer
from gradshield.data.containers.parquet import ParquetContainer
from gradshield.data.containers.text import first_character
from gradshield.data.containers.text_lines import TextLinesContainer
from gradshield.data.errors import DataError

# Those that can be compressed as a whole, because they are read from first to last.
LINE_CONTAINERS: tuple[Container, ...] = (
    JsonlContainer(".jsonl"),
    JsonlContainer(".ndjson"),
    JsonlContainer(".json"),
    CsvContainer(".csv", "csv", ","),
    CsvContainer(".tsv", "tsv", "\t"),
    TextLinesContainer(),
)

CONTAINERS: tuple[Container, ...] = (
    *LINE_CONTAINERS,
    *(
        CompressedContainer(inner, compression)
        for inner in LINE_CONTAINERS
        for compression in COMPRESSIONS
    ),
    JsonArrayContainer(),
    ParquetContainer(),
    ArrowFileContainer(),
    DatasetsFolderContainer(),
)

__all__ = ["CONTAINERS", "Container", "FileFacts", "find_container", "open_container"]


def open_container(path: str | Path, split: str | None = None) -> Container:
    """The container that `path` is, with rows in it.

    Args:
        path: A file, or a folder written by `save_to_disk`.
        split: Which split of a saved `DatasetDict` to read.

    Raises:
        DataError: The path does not exist, is of no known kind, holds no rows, or has no such
            split.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty, there are no rows to read")
    container = find_container(path)
    if container is None:
        raise DataError(f"{path}: {_why_unsupported(path)}")
    if isinstance(container, DatasetsFolderContainer):
        container = replace(container, split=split)
    elif split is not None:
        raise DataError(
            f"{path}: --split {split} is for saved data sets and the hub; other files have none"
        )
    if container.facts(path).rows == 0:
        raise DataError(f"{path}: there are no rows in it")
    return container


def find_container(path: Path) -> Container | None:
    """The first container of the registry that the existing `path` matches, None if none does."""
    return next((container for container in CONTAINERS if container.matches(path)), None)


def _why_unsupported(path: Path) -> str:
    if path.is_dir():
        return (
            "the folder was not written by save_to_disk of the datasets library; "
            "name a file in it instead"
        )
    if path.suffix.lower() == ".json":
        first = first_character(path)
        if first == b"{":
            return "the file is one JSON object; rows must be an array of objects or JSON Lines"
        if not first:
            return "there are no rows in it"
        return "a .json file must hold an array of objects or JSON Lines"
    known = sorted({container.suffix for container in CONTAINERS} - {""})
    return (
        f"files ending in {path.suffix!r} are not supported; use {', '.join(known)} "
        "or a folder written by save_to_disk"
    )
