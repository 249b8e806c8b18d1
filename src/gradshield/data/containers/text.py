"""Looking into UTF-8 text files before they are parsed."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

from gradshield.data.errors import DataError


def read_utf8_bytes(path: Path) -> bytes:
    """The bytes of `path`.

    Raises:
        DataError: The file is UTF-16, in which no line could be read.
    """
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}: the file is encoded in UTF-16; save it as UTF-8")
    return content


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


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True
