"""Plain text files: one row a line, as the `text` builder of the `datasets` library reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradshield.data.containers.base import FileFacts
from gradshield.data.containers.lines import join_lines, line_facts, lines_of, write_lines
from gradshield.data.rows import SourceRow


@dataclass(frozen=True)
class TextLinesContainer:
    """A `.txt` file; each line is a row with the one field `text`, its line ending taken off.

    Blank lines are not rows and are not written. A kept line keeps its bytes.
    """

    name: str = "text"
    suffix: str = ".txt"

    def matches(self, path: Path) -> bool:
        """See `Container.matches`."""
        return path.is_file() and path.suffix.lower() == self.suffix

    def facts(self, path: Path) -> FileFacts:
        """See `Container.facts`."""
        return line_facts(path)

    def rows(self, path: Path) -> Iterator[SourceRow]:
        """See `Container.rows`."""
        for position, (number, line) in enumerate(lines_of(path)):
            yield _row(line, position, number, path)

    def read(self, path: Path) -> list[SourceRow]:
        """See `Container.read`."""
        return list(self.rows(path))

    def write_subset(self, source: Path, positions: Sequence[int], target: Path) -> None:
        """See `Container.write_subset`."""
        write_lines(source, positions, target)

    def join(self, parts: Sequence[Path], target: Path) -> None:
        """See `Container.join`."""
        join_lines(parts, target)


def _row(line: bytes, position: int, number: int, path: Path) -> SourceRow:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode("utf-8")) + 1
        what = f"not valid UTF-8 (byte 0x{line[error.start]:02x}); save the file as UTF-8"
        place = f"{path.name}:{number}:{column}"
        return SourceRow(position, number, None, f"{place}: {what}", "invalid_text")
    return SourceRow(position, number, {"text": text.removesuffix("\n").removesuffix("\r")})
