"""Filter a stream, `datasets.IterableDataset`: rows that are read one by one and kept nowhere.

A threshold that is chosen from the scores needs them all, so the stream is read twice: once to
score, of which a line and a fingerprint a row stay in memory, and again whenever the filtered
stream is read. Rows are known again by their fingerprint and not by their place, which a shuffle,
a split over workers or another epoch changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from gradshield.errors import UserError
from gradshield.run.threshold import divide
from gradshield.scoring.table import SCHEMA, ScoreColumns, columns_of

Row = dict[str, Any]
ScoreRows = Callable[[Sequence[Row]], list[dict[str, Any]]]
"""From rows to the lines of their score table, in order."""

CHUNK = 512
"""Rows that are in memory at a time."""


def is_stream(rows: object) -> bool:
    """Whether rows can only be read in order, and their number is unknown."""
    from datasets import IterableDataset

    return isinstance(rows, IterableDataset)


def fingerprint(row: Mapping[str, Any]) -> bytes:
    """16 bytes that rows of the same content share; of a picture or a sound only the type counts.

    The order of keys does not count, and neither does a key without a value, which a stream gives
    or leaves out as it likes.
    """
    present = {key: value for key, value in row.items() if value is not None}
    text = json.dumps(present, sort_keys=True, default=_named)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).digest()


def _named(value: object) -> str:
    """A value that JSON lacks. Its type is the same at each reading, its address is not."""
    if isinstance(value, bytes):
        return hashlib.blake2b(value, digest_size=16).hexdigest()
    return str(value) if hasattr(value, "isoformat") else type(value).__name__


@dataclass(frozen=True)
class ScoredStream:
    """What is kept of a stream after the first pass.

    Attributes:
        lines: Its score table, with the columns of `SCHEMA`, of which those of the single tokens
            are empty: they would take as much memory as the data.
        fingerprints: Of each row, in order.
    """

    lines: pa.Table
    fingerprints: list[bytes]

    def outcomes(self, threshold: float) -> dict[bytes, str]:
        """`kept`, `removed` or `rejected` for each fingerprint."""
        found = divide(ScoreColumns.of(self.lines), threshold).outcomes
        return dict(zip(self.fingerprints, found.tolist(), strict=True))


def score_stream(stream: Iterable[Row], score: ScoreRows) -> ScoredStream:
    """Read a stream to its end; a row that came before is not scored again."""
    parts = [SCHEMA.empty_table()]
    fingerprints: list[bytes] = []
    first: dict[bytes, tuple[int, int]] = {}  # where its line is: which part, and where in it
    for chunk in _chunks(stream):
        marks = [fingerprint(row) for row in chunk]
        new = {mark: row for mark, row in zip(marks, chunk, strict=True) if mark not in first}
        scored = dict(zip(new, score(list(new.values())), strict=True))
        lines = [
            _without_tokens(scored.get(mark) or _line_at(parts, first[mark]), position)
            for position, mark in enumerate(marks, start=len(fingerprints))
        ]
        for place, mark in enumerate(marks):
            first.setdefault(mark, (len(parts), place))
        parts.append(pa.Table.from_pylist(lines, schema=SCHEMA))
        fingerprints += marks
    return ScoredStream(pa.concat_tables(parts), fingerprints)


def _chunks(stream: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(stream)
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _line_at(parts: Sequence[pa.Table], place: tuple[int, int]) -> dict[str, Any]:
    part, row = place
    found: dict[str, Any] = parts[part].slice(row, 1).to_pylist()[0]
    return found


def _without_tokens(line: Mapping[str, Any], row: int) -> dict[str, Any]:
    return {**line, "row": row, "token_ids": None, "token_fihs": None}


@dataclass(frozen=True)
class RowsOf:
    """Tells the rows of one part when a stream that was scored is read again."""

    part: str
    outcomes: Mapping[bytes, str]

    def __call__(self, row: Row) -> bool:
        """Whether the row is of the part.

        Raises:
            UserError: It was not scored.
        """
        outcome = self.outcomes.get(fingerprint(row))
        if outcome is None:
            raise UserError(
                "The stream gave a row that it did not give when it was scored, so nothing is "
                "known of it: give GradShield a stream that has the same rows each time it is "
                "read (no random changes, `take` before `shuffle`), or filter in one pass with "
                "`decision=`."
            )
        return outcome == self.part


@dataclass(frozen=True)
class ScoredAsRead:
    """Tells the rows of one part while they are read, by a threshold that is known already."""

    part: str
    score: ScoreRows
    threshold: float

    def __call__(self, columns: Mapping[str, list[Any]]) -> list[bool]:
        """For each row of a batch whether it is of the part."""
        values = zip(*columns.values(), strict=True)
        lines = self.score([dict(zip(columns, row, strict=True)) for row in values])
        rows = set(getattr(divide(columns_of(lines), self.threshold), self.part))
        return [line["row"] in rows for line in lines]


def plain(rows: Any) -> Any:
    """A data set that gives its rows as dicts of Python values, whatever it was formatted to.

    A transform of the user's own stays: its outcome is what is trained on.
    """
    return rows.with_format(None) if _format_type(rows) not in (None, "custom") else rows


def row_at(rows: Iterable[Row], position: int) -> Row:
    """One row of what can be read again, formatted or not."""
    return next(islice(plain(rows), position, None))


def select_from_stream(stream: Any, choose: RowsOf | ScoredAsRead) -> Any:
    """The chosen rows, read when they are asked for, with the features and format of the stream."""
    batched = isinstance(choose, ScoredAsRead)
    chosen = plain(stream).filter(choose, batched=batched, batch_size=CHUNK)
    return chosen.with_format(_format_type(stream))


def _format_type(rows: Any) -> str | None:
    if is_stream(rows):
        # A stream tells nobody else.
        formatting = rows._formatting
        return None if formatting is None else formatting.format_type
    from datasets import Dataset

    kind: str | None = rows.format["type"] if isinstance(rows, Dataset) else None
    return kind
