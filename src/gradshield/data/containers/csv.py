"""CSV and TSV files: a header record, then one row of text fields a record."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from gradshield.data.containers.base import FileFacts, check_positions, picked, replacing
from gradshield.data.containers.text import byte_order_mark
from gradshield.data.errors import DataError
from gradshield.data.rows import SourceRow

# Greatest length of a field in characters. The csv module's own limit of 128 Ki is below what
# a long document has; this is the greatest that it takes on every platform.
FIELD_LIMIT = 2**31 - 1
OTHER_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}


@dataclass(frozen=True)
class CsvContainer:
    """Delimited text with a header, as the `csv` module of Python reads it.

    Values are always text: an empty field is the empty string, and a number stays as it is
    spelled. A kept record keeps its bytes, its line ending and quoting included, under the
    header's own bytes and byte order mark. Empty lines between records are left out. A last
    record without a line ending gets one only when another record is written after it.
    """

    suffix: str
    name: str
    delimiter: str

    def matches(self, path: Path) -> bool:
        """See `Container.matches`."""
        return path.is_file() and path.suffix.lower() == self.suffix

    def facts(self, path: Path) -> FileFacts:
        """See `Container.facts`."""
        _header(path, self.delimiter)
        filled = [bool(record.fields) for record in _records(path, self.delimiter)]
        notes = (f"{path.name} starts with a UTF-8 byte order mark; it is ignored",)
        return FileFacts(
            rows=sum(filled) - 1,
            blank_lines=len(filled) - sum(filled),
            notes=notes if byte_order_mark(path) else (),
        )

    def rows(self, path: Path) -> Iterator[SourceRow]:
        """See `Container.rows`."""
        columns = _header(path, self.delimiter).fields
        reason = f"invalid_{self.name}"
        for position, record in enumerate(_rows(path, self.delimiter)):
            fault = _fault(record, columns)
            value = None if fault else dict(zip(columns, record.fields, strict=True))
            error = f"{path.name}:{fault}" if fault else None
            content = record.content.rstrip(b"\r\n")
            yield SourceRow(position, record.line, value, error, reason, content=content)

    def read(self, path: Path) -> list[SourceRow]:
        """See `Container.read`."""
        return list(self.rows(path))

    def write_subset(self, source: Path, positions: Sequence[int], target: Path) -> None:
        """See `Container.write_subset`.

        Raises:
            DataError: Also when a record of which a quote is never closed would not come last:
                it would take in the records after it.
        """
        header = _header(source, self.delimiter)
        check_positions(positions, sum(1 for _ in _rows(source, self.delimiter)), source)
        with replacing(source, target) as temporary:
            chosen = picked(lambda: _rows(source, self.delimiter), positions)
            _write(source, header, chosen, temporary)

    def join(self, parts: Sequence[Path], target: Path) -> None:
        """See `Container.join`: under the header of the first."""
        header = _header(parts[0], self.delimiter)
        for part in parts:
            if _header(part, self.delimiter).fields != header.fields:
                raise DataError(
                    f"{part.name} has another header than {parts[0].name}, so that their rows "
                    "cannot stand in one file; leave out --shards, which keeps the files"
                )
        with replacing(parts[0], target) as temporary:
            records = (record for part in parts for record in _rows(part, self.delimiter))
            _write(parts[0], header, records, temporary)


@dataclass(frozen=True)
class _Record:
    """A record: its first line (1-based), its bytes, its fields.

    `closed` is False if the file ended inside a quoted field. In `fields`, bytes that are not
    UTF-8 are lone surrogates and NUL characters are replaced.
    """

    line: int
    content: bytes
    fields: list[str]
    closed: bool


def _write(source: Path, header: _Record, records: Iterable[_Record], target: Path) -> None:
    """Write records under a header, each with a line ending but the last."""
    ending = _line_ending(header.content)
    before = None
    with target.open("wb") as file:
        file.write(byte_order_mark(source) + header.content)
        for record in records:
            if before is not None and not before.closed:
                raise DataError(
                    f"{source}:{before.line}:1: a quote in this record is never closed, so no "
                    "record can be written after it; close the quote"
                )
            if before is not None and not _line_ending(before.content):
                file.write(ending)
            file.write(record.content)
            before = record


def _header(path: Path, delimiter: str) -> _Record:
    """The first record that is not empty; it names the columns."""
    header = next((record for record in _records(path, delimiter) if record.fields), None)
    if header is None:
        raise DataError(f"{path}: there is no header; the first line must name the columns")
    _check_header(header, delimiter, path)
    return header


def _rows(path: Path, delimiter: str) -> Iterator[_Record]:
    """The records after the header that are not empty."""
    return islice((record for record in _records(path, delimiter) if record.fields), 1, None)


def _records(path: Path, delimiter: str) -> Iterator[_Record]:
    """The records of a file, empty lines included as records without fields.

    What a record is, only the csv reader knows: the lines that it takes until it gives a record
    are the record's bytes.
    """
    taken: list[bytes] = []
    unfinished: list[bytes] = []

    def lines(text: TextIO) -> Iterator[str]:
        for line in text:
            taken.append(line.encode("utf-8", "surrogateescape"))
            # Before Python 3.11 the reader refuses NUL.
            yield line.replace("\0", "\N{REPLACEMENT CHARACTER}")
        # A reader that asks on after the last line, with lines in hand, is inside a quoted field.
        unfinished.extend(taken)

    number = 1
    # Bad bytes must not stop the reader, and lines end at "\n", "\r\n" and "\r".
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as text:
        text.seek(len(byte_order_mark(path)))
        reader = csv.reader(lines(text), delimiter=delimiter)
        while (fields := _next_fields(reader, path, number)) is not None:
            yield _Record(number, b"".join(taken), fields, not unfinished)
            number += len(taken)
            taken.clear()


def _next_fields(reader: Iterator[list[str]], path: Path, number: int) -> list[str] | None:
    try:
        with _field_limit():
            return next(reader, None)
    except csv.Error as error:
        raise DataError(
            f"{path}:{number}:1: the record cannot be read: {error}; a quote may be missing"
        ) from error


@contextmanager
def _field_limit() -> Iterator[None]:
    """Let the csv module, which has one limit for the whole process, read long fields."""
    earlier = csv.field_size_limit(FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(earlier)


def _check_header(header: _Record, delimiter: str, path: Path) -> None:
    """Refuse a header that does not give each column a name of its own."""
    fault = _fault(header, header.fields)
    if fault:
        raise DataError(f"{path}:{fault}")
    place = f"{path}:{header.line}:1: the header"
    names = header.fields
    if not any(name.strip() for name in names):
        raise DataError(f"{place} names no column; the first line must name the columns")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{place} has the name {twice!r} twice; name each column differently")
    for other, word in OTHER_DELIMITERS.items():
        if len(names) == 1 and other != delimiter and other in names[0]:
            own = OTHER_DELIMITERS[delimiter]
            raise DataError(
                f"{place} is one column with a {word} in its name, {names[0]!r}; save the file "
                f"with a {own} between the fields"
            )


def _fault(record: _Record, columns: Sequence[str]) -> str | None:
    """Line, column and mend of what is wrong with a record; None if nothing is."""
    try:
        record.content.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = record.content[error.start]
        return (
            f"{_place(record, error.start)}: not valid UTF-8 (byte 0x{byte:02x}); "
            "save the file as UTF-8"
        )
    if b"\0" in record.content:
        return f"{_place(record, record.content.index(0))}: a NUL character; remove it"
    if not record.closed:
        return (
            f"{record.line}:1: a quote in this record is never closed, so that it runs to the "
            "end of the file; close it, or double a quote that belongs to the text"
        )
    return _count_fault(record, columns)


def _count_fault(record: _Record, columns: Sequence[str]) -> str | None:
    found, expected = len(record.fields), len(columns)
    if found == expected:
        return None
    where = f"{record.line}:1: {found} fields, but the header has {expected}"
    if found < expected:
        return f"{where}: nothing for the column {columns[found]!r}; add the missing fields"
    return (
        f"{where}: too many after the column {columns[-1]!r}; quote a field that has the "
        "delimiter in its text"
    )


def _place(record: _Record, at: int) -> str:
    """1-based line and column, in characters, of the byte at index `at` of a record."""
    lines = record.content[: at + 1].splitlines(keepends=True)
    column = len(lines[-1][:-1].decode("utf-8")) + 1
    return f"{record.line + len(lines) - 1}:{column}"


def _line_ending(content: bytes) -> bytes:
    return next((end for end in (b"\r\n", b"\n", b"\r") if content.endswith(end)), b"")
