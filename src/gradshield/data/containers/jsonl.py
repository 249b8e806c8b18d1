"""JSON Lines: one JSON object a line, read and written as bytes."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradshield.data.containers.base import FileFacts, check_positions, replacing
from gradshield.data.containers.text import (
    first_character,
    is_one_json_object,
    nesting_fault,
    read_utf8_bytes,
)
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
        mark, lines, blank_lines = _split(path)
        notes = (f"{path.name} starts with a UTF-8 byte order mark; it is ignored",) if mark else ()
        return FileFacts(len(lines), blank_lines, notes)

    def read(self, path: Path) -> list[SourceRow]:
        """See `Container.read`."""
        _, lines, _ = _split(path)
        return [
            parse_line(line, position, number, path)
            for position, (number, line) in enumerate(lines)
        ]

    def write_subset(self, source: Path, positions: Sequence[int], target: Path) -> None:
        """See `Container.write_subset`."""
        mark, lines, _ = _split(source)
        check_positions(positions, len(lines), source)
        chosen = [lines[position][1] for position in positions]
        ending = b"\r\n" if any(line.endswith(b"\r\n") for _, line in lines) else b"\n"
        for index, line in enumerate(chosen[:-1]):
            if not line.endswith(b"\n"):
                chosen[index] = line + ending
        with replacing(source, target) as temporary:
            temporary.write_bytes(mark + b"".join(chosen))


def _split(path: Path) -> tuple[bytes, list[tuple[int, bytes]], int]:
    """Byte order mark (or nothing), rows as (1-based line, bytes with ending), blank lines."""
    content = read_utf8_bytes(path)
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    # Only a line feed ends a line: other separators that Python knows may stand in JSON strings.
    pieces = content[len(mark) :].split(b"\n")
    lines = [piece + b"\n" for piece in pieces[:-1]]
    if pieces[-1]:
        lines.append(pieces[-1])
    rows = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    return mark, rows, len(lines) - len(rows)


def parse_line(line: bytes, position: int, number: int, path: Path) -> SourceRow:
    """The row at `position` in a line with its 1-based `number` in `path`."""
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
            return row_from_json(value, position, number, path)
        what = f"1: {fault}"
    return SourceRow(position, number, None, f"{path.name}:{number}:{what}")
