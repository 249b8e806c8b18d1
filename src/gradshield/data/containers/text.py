"""Looking into UTF-8 text files before they are parsed."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

from gradshield.data.errors import DataError

# How deep a row may be nested. A row of turns with tool calls needs about ten levels. Python's own
# limit differs between versions, and what walks through a row runs into it before the parser does.
MOST_NESTING = 200


def byte_order_mark(path: Path) -> bytes:
    """The UTF-8 byte order mark at the beginning of a file, or nothing.

    Raises:
        DataError: The file is UTF-16, in which no line could be read.
    """
    with path.open("rb") as file:
        start = file.read(len(codecs.BOM_UTF8))
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}: the file is encoded in UTF-16; save it as UTF-8")
    return start if start == codecs.BOM_UTF8 else b""


def read_utf8_bytes(path: Path) -> bytes:
    """The bytes of `path`.

    Raises:
        DataError: The file is UTF-16, in which no line could be read.
    """
    byte_order_mark(path)
    return path.read_bytes()


def first_character(path: Path) -> bytes:
    """First byte that is neither white space nor part of a byte order mark; empty if none."""
    with path.open("rb") as file:
        rest = file.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8).lstrip()
        while not rest:
            block = file.read(1 << 16)
            if not block:
                return b""
            rest = block.lstrip()
    return rest[:1]


def is_one_json_object(path: Path) -> bool:
    """Whether the whole file is a single JSON object spread over several lines."""
    content = read_utf8_bytes(path).removeprefix(codecs.BOM_UTF8).strip()
    if b"\n" not in content or _is_json(content.split(b"\n", 1)[0]):
        return False
    return _is_json(content)


def nesting_fault(value: object, brackets: int) -> str | None:
    """What is wrong with a JSON value that is nested too deeply; None if it is not.

    `brackets` is the number of opening brackets in its text, of which most values have so few
    that they need not be walked through.
    """
    if brackets <= MOST_NESTING:
        return None
    level = [value]
    for _ in range(MOST_NESTING):
        level = [child for item in level for child in _children(item)]
        if not level:
            return None
    return f"JSON that cannot be read: it is nested deeper than {MOST_NESTING} levels"


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True
