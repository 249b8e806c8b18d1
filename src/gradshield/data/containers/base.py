"""What a file container can do, and writing a file without ever leaving half of it behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from gradshield.data.errors import DataError
from gradshield.data.rows import SourceRow
from gradshield.files import written_whole

T = TypeVar("T")


@dataclass(frozen=True)
class FileFacts:
    """What is known of a file apart from its rows.

    Attributes:
        rows: Number of rows, those that cannot be parsed included.
        blank_lines: Lines that hold only white space; they are not rows and are not written.
        notes: Sentences that the user should see, such as a byte order mark that was found.
    """

    rows: int
    blank_lines: int = 0
    notes: tuple[str, ...] = ()


class Container(Protocol):
    """A kind of file that holds rows; one object a kind, without state."""

    @property
    def name(self) -> str:
        """What the container is called in messages."""

    @property
    def suffix(self) -> str:
        """File name ending of what `write_subset` writes; empty for a folder."""

    def matches(self, path: Path) -> bool:
        """Whether the existing file or folder `path` is of this kind."""

    def facts(self, path: Path) -> FileFacts:
        """Counts and notes about the file.

        Raises:
            DataError: The file as a whole cannot be read.
        """

    def rows(self, path: Path) -> Iterator[SourceRow]:
        """Every row in file order; a row that cannot be parsed carries its error.

        Where the container allows it, few rows are in memory at a time.

        Raises:
            DataError: While rows are taken: the file as a whole cannot be read.
        """

    def read(self, path: Path) -> list[SourceRow]:
        """All of `rows` at once.

        Raises:
            DataError: The file as a whole cannot be read.
        """

    def write_subset(self, source: Path, positions: Sequence[int], target: Path) -> None:
        """Write the rows at `positions` of `source`, in the given order, to `target`.

        Nothing is added to a row and nothing is changed in it. An existing `target` is replaced,
        but only once the new one is complete.

        Raises:
            DataError: A position is not in the file, or `target` is `source`.
        """

    def join(self, parts: Sequence[Path], target: Path) -> None:
        """Write the rows of several files of this kind, at least one, to `target`, in order.

        Raises:
            DataError: The files have different columns.
        """


def check_positions(positions: Sequence[int], rows: int, source: Path) -> None:
    """Refuse positions that `source` does not have.

    Raises:
        DataError: Names the first such position.
    """
    for position in positions:
        if not 0 <= position < rows:
            raise DataError(
                f"{source}: row {position} was asked for, but the file has {rows} rows; if it was "
                "changed after it was scored, score it again"
            )


def picked(records: Callable[[], Iterator[T]], positions: Sequence[int]) -> Iterator[T]:
    """The records at `positions`, in the given order, with one of them in memory at a time.

    Args:
        records: Begins a pass over all records; one pass is enough where positions ascend.
        positions: Of records that are there.
    """
    passing, at = records(), 0
    for position in positions:
        if position < at:
            passing, at = records(), 0
        yield next(islice(passing, position - at, None))
        at = position + 1


@contextmanager
def replacing(source: Path, target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`, renamed to `target` if the block succeeds.

    Raises:
        DataError: `target` is `source`, or a folder that is not a saved data set.
    """
    if target.exists():
        if target.samefile(source):
            raise DataError(f"{target}: the output would overwrite its own input; name another")
        if target.is_dir() and not is_saved_dataset(target):
            raise DataError(f"{target}: a folder with other content is in the way; name another")
    with written_whole(target) as draft:
        yield draft


def is_saved_dataset(folder: Path) -> bool:
    """Whether `folder` was written by `save_to_disk` of the `datasets` library."""
    is_dataset = (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()
    return is_dataset or (folder / "dataset_dict.json").is_file()
