"""Files with one row a line, read and written as bytes."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from pathlib import Path

from gradshield.data.containers.base import FileFacts, check_positions, replacing
from gradshield.data.containers.text import read_utf8_bytes


def split_lines(path: Path) -> tuple[bytes, list[tuple[int, bytes]], int]:
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


def line_facts(path: Path) -> FileFacts:
    """See `Container.facts`."""
    mark, lines, blank_lines = split_lines(path)
    notes = (f"{path.name} starts with a UTF-8 byte order mark; it is ignored",) if mark else ()
    return FileFacts(len(lines), blank_lines, notes)


def write_lines(source: Path, positions: Sequence[int], target: Path) -> None:
    """See `Container.write_subset`: each line keeps its bytes."""
    mark, lines, _ = split_lines(source)
    check_positions(positions, len(lines), source)
    chosen = [lines[position][1] for position in positions]
    ending = _ending(line for _, line in lines)
    with replacing(source, target) as temporary:
        temporary.write_bytes(mark + _one_after_the_other(chosen, ending))


def join_lines(parts: Sequence[Path], target: Path) -> None:
    """See `Container.join`: the first byte order mark stays, the others would be in the middle."""
    marks, lines = [], []
    for part in parts:
        mark, rows, _ = split_lines(part)
        marks.append(mark)
        lines += [line for _, line in rows]
    with replacing(parts[0], target) as temporary:
        temporary.write_bytes(max(marks) + _one_after_the_other(lines, _ending(lines)))


def _ending(lines: Iterable[bytes]) -> bytes:
    return b"\r\n" if any(line.endswith(b"\r\n") for line in lines) else b"\n"


def _one_after_the_other(lines: list[bytes], ending: bytes) -> bytes:
    """The lines, with an ending after each but the last, which keeps what it has."""
    return b"".join(
        line if line.endswith(b"\n") or index == len(lines) - 1 else line + ending
        for index, line in enumerate(lines)
    )
