"""JSON Lines: one JSON object a line, read and written as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradshield.data.containers.base import FileFacts
from gradshield.data.containers.lines import join_lines, line_facts, lines_of, write_lines
from gradshield.data.containers.text import first_character, is_one_json_object, nesting_fault
from gradshield.data.rows import SourceRow, row_from_json


@dataclass(frozen=True)
class JsonlContainer:
    """JSON Lines in a file with a given suffix.

    A kept row keeps its bytes, its line ending included. A byte order mark belongs to the file
    and is written again. Blank lines are left out. A last line without a line ending gets one
    only when another row is written after it.

    In a `.json` file, JSON Lines are recognised by a first character that opens an object.
    """

    suffix: str
    name: str = "jsonl"

    def matches(self, path: Path) -> bool:
        """See `Container.matches`."""
        if not path.is_file() or path.suffix.lower() != self.suffix:
            return False
        if self.suffix != ".json":
            return True
        return first_character(path) == b"{" and not is_one_json_object(path)

    def facts(self, path: Path) -> FileFacts:
        """See `Container.facts`."""
        return line_facts(path)

    def rows(self, path: Path) -> Iterator[SourceRow]:
        """See `Container.rows`."""
        for position, (number, line) in enumerate(lines_of(path)):
            yield parse_line(line, position, number, path)

    def read(self, path: Path) -> list[SourceRow]:
        """See `Container.read`."""
        return list(self.rows(path))

    def write_subset(self, source: Path, positions: Sequence[int], target: Path) -> None:
        """See `Container.write_subset`."""
        write_lines(source, positions, target)

    def join(self, parts: Sequence[Path], target: Path) -> None:
        """See `Container.join`."""
        join_lines(parts, target)


def parse_line(line: bytes, position: int, number: int, path: Path) -> SourceRow:
    """The row at `position` in a line with its 1-based `number` in `path`."""
    content = line.rstrip(b"\r\n")
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode("utf-8")) + 1
        what = f"{column}: not valid UTF-8 (byte 0x{line[error.start]:02x}); save the file as UTF-8"
    except json.JSONDecodeError as error:
        what = f"{error.colno}: invalid JSON: {error.msg}"
    except (ValueError, RecursionError) as error:
        what = f"1: JSON that cannot be read: {error}"
    else:
        fault = nesting_fault(value, line.count(b"[") + line.count(b"{"))
        if fault is None:
            return row_from_json(value, position, number, path, content=content)
        what = f"1: {fault}"
    return SourceRow(position, number, None, f"{path.name}:{number}:{what}", content=content)
