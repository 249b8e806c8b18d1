"""How rows are laid out in files: one file, a file for each of the input, or so many files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradshield.files import written_whole


@dataclass(frozen=True)
class Part:
    """One file to be written.

    Attributes:
        name: Its path below the folder that is written to.
        rows: Positions of its rows in the input, ascending.
        pieces: Where they come from: files of the input, at least one, with positions in each.
    """

    name: str
    rows: Sequence[int]
    pieces: Sequence[tuple[Path, Sequence[int]]]


def divide_evenly(rows: Sequence[int], number: int) -> Iterator[Sequence[int]]:
    """As many as `number` runs of rows whose lengths differ by one at most.

    None is empty, so that there are fewer of few rows; without rows it is one.
    """
    number = max(1, min(number, len(rows)))
    edges = [len(rows) * edge // number for edge in range(number + 1)]
    for index in range(number):
        yield rows[edges[index] : edges[index + 1]]


def write_parts(parts: Sequence[Part], folder: Path, write: Callable[[Part, Path], None]) -> Path:
    """Write one part as a file, or several as a folder, whole or not at all.

    Args:
        parts: At least one; the names begin alike.
        folder: Where to write.
        write: Writes a part to a path, whose folder exists.

    Returns:
        The file or folder.
    """
    target = folder / Path(parts[0].name).parts[0]
    with written_whole(target) as draft:
        for part in parts:
            place = draft.joinpath(*Path(part.name).parts[1:])
            place.parent.mkdir(parents=True, exist_ok=True)
            write(part, place)
    return target
