"""Folders written by `save_to_disk` of the `datasets` library."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradshield.bounds import bounded_memory, most_bytes
from gradshield.data.containers.arrow import rows_of_tables
from gradshield.data.containers.base import (
    FileFacts,
    check_positions,
    is_saved_dataset,
    replacing,
)
from gradshield.data.containers.expansion import within_bounds
from gradshield.data.errors import DataError
from gradshield.data.rows import SourceRow
from gradshield.errors import first_line


@dataclass(frozen=True)
class DatasetsFolderContainer:
    """A saved `Dataset`, or one split of a saved `DatasetDict`.

    A subset is saved in the same layout, with the same features. Values are read as Arrow
    stores them, so images and sounds in unused columns are never decoded.

    Attributes:
        split: Which split of a `DatasetDict`; None for its only one, or for a `Dataset`.
        shards: Number of files of a subset; None for as many as the library chooses.
    """

    name: str = "datasets"
    suffix: str = ""
    split: str | None = None
    shards: int | None = None

    def matches(self, path: Path) -> bool:
        """See `Container.matches`."""
        return path.is_dir() and is_saved_dataset(path)

    def facts(self, path: Path) -> FileFacts:
        """See `Container.facts`."""
        return FileFacts(len(_load(path, chosen_split(path, self.split))))

    def rows(self, path: Path) -> Iterator[SourceRow]:
        """See `Container.rows`."""
        dataset = _load(path, chosen_split(path, self.split)).with_format("arrow")
        tables = within_bounds(dataset.iter(batch_size=1000), path)
        return rows_of_tables(tables, path, "saved data set")

    def read(self, path: Path) -> list[SourceRow]:
        """See `Container.read`."""
        return list(self.rows(path))

    def write_subset(self, source: Path, positions: Sequence[int], target: Path) -> None:
        """See `Container.write_subset`."""
        from datasets import DatasetDict

        split = chosen_split(source, self.split)
        dataset = _load(source, split)
        check_positions(positions, len(dataset), source)
        subset = dataset.select(positions)
        # Without rows the library would choose zero shards, which it cannot load again.
        shards = self.shards if positions else 1
        with replacing(source, target) as temporary, without_progress_bars():
            if split is None:
                subset.save_to_disk(temporary, num_shards=shards)
            else:
                DatasetDict({split: subset}).save_to_disk(temporary, num_shards={split: shards})

    def join(self, parts: Sequence[Path], target: Path) -> None:
        """See `Container.join`."""
        from datasets import concatenate_datasets

        tables = [_load(part, chosen_split(part, self.split)) for part in parts]
        with replacing(parts[0], target) as temporary, without_progress_bars():
            concatenate_datasets(tables).save_to_disk(temporary)

    def table(self, path: Path) -> Any:
        """The rows as one `pyarrow` table, with the library's description of the features."""
        return _load(path, chosen_split(path, self.split)).with_format("arrow")[:]


def chosen_split(path: Path, wanted: str | None = None) -> str | None:
    """Name of the split to read of a saved `DatasetDict`, None for a saved `Dataset`.

    Raises:
        DataError: It has several splits and none is named, or none of that name.
    """
    description = path / "dataset_dict.json"
    if not description.is_file():
        if wanted is not None:
            raise DataError(f"{path}: the folder has no splits; leave out --split")
        return None
    try:
        splits = [str(name) for name in json.loads(description.read_text("utf-8"))["splits"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{description}: this is no list of splits; save the data again") from error
    if wanted is None and len(splits) == 1:
        return splits[0]
    if wanted not in splits:
        found = f"{path}: the folder holds the splits {', '.join(splits)}"
        asked = "" if wanted is None else f", but not {wanted!r}"
        raise DataError(f"{found}{asked}; name one of them, such as --split {splits[0]}")
    return wanted


def _load(path: Path, split: str | None) -> Any:
    from datasets import Dataset

    folder = path if split is None else path / split
    _check_inside(path, folder)
    try:
        # What is compressed inside is spelled out here; mapped files count as memory too.
        with bounded_memory(most_bytes() + _mapped_bytes(folder)):
            return Dataset.load_from_disk(str(folder))
    except Exception as error:
        reason = first_line(error)
        raise DataError(f"{folder}: the saved data set cannot be loaded: {reason}") from error


def _check_inside(path: Path, folder: Path) -> None:
    """Refuse a data set that reads files from elsewhere.

    Names of files in its own description, links, and names of splits can lead out of the folder:
    to files of others, which would be taken for rows, and which its SHA-256 would not cover.

    Raises:
        DataError: Names the first such file.
    """
    inside = path.resolve()
    files = [folder, folder / "state.json", folder / "dataset_info.json", *_data_files(folder)]
    for file in files:
        if not file.resolve().is_relative_to(inside):
            raise DataError(
                f"{path}: it reads {file}, which lies outside of the folder; copy the data into "
                "one folder"
            )


def _data_files(folder: Path) -> list[Path]:
    """The files that the description of a saved data set names."""
    try:
        state = json.loads((folder / "state.json").read_text("utf-8"))
        return [folder / entry["filename"] for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{folder}: the saved data set cannot be loaded: its state.json names no files"
        ) from error


def _mapped_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in _data_files(folder) if file.is_file())


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Within the block the library shows no progress bars of its own."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()
