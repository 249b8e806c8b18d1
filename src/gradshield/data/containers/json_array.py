"""A JSON file that holds one array of objects."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradshield.data.containers.base import FileFacts, check_positions, replacing
from gradshield.data.containers.text import first_character, nesting_fault, read_utf8_bytes
from gradshield.data.errors import DataError
from gradshield.data.rows import SourceRow, row_from_json

_WHITE_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class JsonArrayContainer:
    """An array of objects in a `.json` file.

    A kept element is copied as the span of text it has in the source, with the separator that
    preceded it there; what comes before the first and after the last element is kept too, so
    that keeping every element gives the source back. An array that is not valid JSON has no
    rows that could be told apart, so it is refused as a whole.
    """

    name: str = "json"
    suffix: str = ".json"

    def matches(self, path: Path) -> bool:
        """See `Container.matches`."""
        return (
            path.is_file() and path.suffix.lower() == self.suffix and first_character(path) == b"["
        )

    def facts(self, path: Path) -> FileFacts:
        """See `Container.facts`."""
        mark, text = _decode(path)
        notes = (f"{path.name} starts with a UTF-8 byte order mark; it is ignored",) if mark else ()
        return FileFacts(len(_elements(text, path)), notes=notes)

    def rows(self, path: Path) -> Iterator[SourceRow]:
        """See `Container.rows`; the file is in memory as text."""
        _, text = _decode(path)
        line, counted_to = 1, 0
        for position, (start, end, value) in enumerate(_elements(text, path)):
            line += text.count("\n", counted_to, start)
            counted_to = start
            column = start - text.rfind("\n", 0, start)
            content = text[start:end].encode()
            fault = nesting_fault(value, text.count("[", start, end) + text.count("{", start, end))
            if fault is None:
                yield row_from_json(value, position, line, path, column, content)
            else:
                error = f"{path.name}:{line}:{column}: {fault}"
                yield SourceRow(position, line, None, error, content=content)

    def read(self, path: Path) -> list[SourceRow]:
        """See `Container.read`."""
        return list(self.rows(path))

    def write_subset(self, source: Path, positions: Sequence[int], target: Path) -> None:
        """See `Container.write_subset`."""
        mark, text = _decode(source)
        elements = _elements(text, source)
        check_positions(positions, len(elements), source)
        pieces = []
        for index, position in enumerate(positions):
            start, end, _ = elements[position]
            if index > 0:
                # The first element of the source has no separator before it: borrow one.
                before = max(position, 1)
                pieces.append(text[elements[before - 1][1] : elements[before][0]])
            pieces.append(text[start:end])
        first, last = (elements[0][0], elements[-1][1]) if elements else (len(text), len(text))
        opening, closing = text[:first], text[last:]
        if not positions:
            opening, closing = opening.rstrip(), closing.lstrip()
        with replacing(source, target) as temporary:
            temporary.write_bytes(mark + "".join([opening, *pieces, closing]).encode("utf-8"))

    def join(self, parts: Sequence[Path], target: Path) -> None:
        """See `Container.join`: each row keeps its text, between what is around those of the first.

        All are separated as the first two that stand in one file are.
        """
        texts = [_decode(part) for part in parts]
        found = [_elements(text, part) for (_, text), part in zip(texts, parts, strict=True)]
        filled = [(text, e) for (_, text), e in zip(texts, found, strict=True) if e]
        separator = next((text[e[0][1] : e[1][0]] for text, e in filled if e[1:]), ",\n")
        rows = [text[start:end] for text, elements in filled for start, end, _ in elements]
        opening = filled[0][0][: filled[0][1][0][0]] if filled else "["
        closing = filled[0][0][filled[0][1][-1][1] :] if filled else "]\n"
        with replacing(parts[0], target) as temporary:
            content = texts[0][0] + (opening + separator.join(rows) + closing).encode("utf-8")
            temporary.write_bytes(content)


def _decode(path: Path) -> tuple[bytes, str]:
    """Byte order mark (or nothing) and the text after it."""
    content = read_utf8_bytes(path)
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    try:
        return mark, content[len(mark) :].decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, len(mark) + error.start) + 1
        raise DataError(f"{path}:{line}: not valid UTF-8; save the file as UTF-8") from error


def _elements(text: str, path: Path) -> list[tuple[int, int, Any]]:
    """Start, end and value of every element of the array that `text` consists of."""
    decoder = json.JSONDecoder()
    elements: list[tuple[int, int, Any]] = []
    opening = _skip(text, 0)
    # The file was told by a look that passes over more kinds of white space than JSON has.
    if text[opening : opening + 1] != "[":
        raise _broken(path, text, opening, "expected '['")
    at = _skip(text, opening + 1)
    if text[at : at + 1] != "]":
        while True:
            value, end = _decode_element(decoder, text, at, path)
            elements.append((at, end, value))
            at = _skip(text, end)
            if text[at : at + 1] != ",":
                break
            at = _skip(text, at + 1)
    if text[at : at + 1] != "]":
        raise _broken(path, text, at, "expected ',' or ']'")
    if _skip(text, at + 1) != len(text):
        raise _broken(path, text, _skip(text, at + 1), "text after the end of the array")
    return elements


def _decode_element(decoder: json.JSONDecoder, text: str, at: int, path: Path) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise _broken(path, text, error.pos, error.msg) from error
    except (ValueError, RecursionError) as error:
        raise _broken(path, text, at, str(error)) from error


def _broken(path: Path, text: str, at: int, what: str) -> DataError:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return DataError(
        f"{path}:{line}:{column}: invalid JSON: {what}; repair the array, or use JSON Lines, "
        "where one bad row does not hide the others"
    )


def _skip(text: str, at: int) -> int:
    match = _WHITE_SPACE.match(text, at)
    return match.end() if match else at
