"""What has to be known of a whole input before any part of it can be read by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any, Protocol

from gradshield.data.conversation import Rejection
from gradshield.data.formats import (
    PREFERENCE,
    FormatDetection,
    detect_format,
    format_named,
    joined_detection,
)
from gradshield.data.load import LoadedData, ResponseChoice, tokenize_rows_or_pairs
from gradshield.data.pairs import TokenizedPair, kinds_of
from gradshield.data.profiles import DEFAULT_PROFILE, Profile
from gradshield.data.row_ranges import RowRanges, all_rows, row_ranges
from gradshield.data.rows import SourceRow
from gradshield.data.source import DataSource
from gradshield.data.tokenization import TokenizedExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AT_A_TIME = 8192
"""Rows that a survey holds at a time."""
Scorable = TokenizedExample | TokenizedPair


@dataclass(frozen=True)
class RowsRead:
    """Rows that were read and tokenised; each is in exactly one of `scorable` and `rejections`.

    Attributes:
        scorable: The rows that can be scored, plain ones or preferences.
        rejections: Row position to the reason why it cannot be scored.
        ids: Row position to the row's own id, if it has one.
        places: Row position to where it stands: its `line`, and of several files its `file`.
    """

    scorable: tuple[Scorable, ...]
    rejections: dict[int, Rejection]
    ids: dict[int, str | int | None]
    places: dict[int, dict[str, Any]]

    @classmethod
    def of(
        cls,
        rows: list[SourceRow],
        scorable: tuple[Scorable, ...],
        rejections: dict[int, Rejection],
    ) -> RowsRead:
        """Rows with what became of them."""
        return cls(
            scorable,
            rejections,
            {row.position: row.own_id for row in rows},
            {row.position: _place(row) for row in rows},
        )


def _place(row: SourceRow) -> dict[str, Any]:
    file = {} if row.file is None else {"file": row.file}
    return {"line": row.line, **file}


class RowsSource(Protocol):
    """An input as a run reads it, a range of rows at a time."""

    @property
    def total(self) -> int:
        """Rows of the whole input."""

    @property
    def holds_pairs(self) -> bool:
        """Whether its rows are preferences."""

    def read(self, rows: range, tokenizer: PreTrainedTokenizerBase) -> RowsRead:
        """The rows at these neighbouring positions, with their tokens."""

    def first_plain(self, tokenizer: PreTrainedTokenizerBase) -> Mapping[str, Any] | None:
        """The first plain row that can be scored, as it stands in the input."""


@dataclass(frozen=True)
class InMemory:
    """An input that was read and tokenised whole; see `RowsSource`."""

    data: LoadedData

    @property
    def total(self) -> int:
        """See `RowsSource`."""
        return len(self.data.rows)

    @property
    def holds_pairs(self) -> bool:
        """See `RowsSource`."""
        return bool(self.data.pairs)

    def read(self, rows: range, tokenizer: PreTrainedTokenizerBase) -> RowsRead:
        """See `RowsSource`; there is nothing left to tokenise."""
        return RowsRead.of(
            self.data.rows[rows.start : rows.stop],
            tuple(self._scorable[row] for row in rows if row in self._scorable),
            {row: self.data.rejections[row] for row in rows if row in self.data.rejections},
        )

    def first_plain(self, tokenizer: PreTrainedTokenizerBase) -> Mapping[str, Any] | None:
        """See `RowsSource`."""
        examples = self.data.examples
        return self.data.rows[examples[0].row].value if examples else None

    @cached_property
    def _scorable(self) -> dict[int, Scorable]:
        return {row.row: row for row in self.data.scorable}


@dataclass(frozen=True)
class Survey:
    """An input that is read in parts, each as it would be read in the whole; see `RowsSource`.

    Attributes:
        ranges: Where its rows are.
        format: A format's name, or "auto".
        detection: The formats of all its rows; None where the format was named.
        response: Which assistant turns carry loss.
        max_length: Greatest number of tokens of an example.
        profile: Whose tokens carry loss.
    """

    ranges: RowRanges
    format: str
    detection: FormatDetection | None
    response: ResponseChoice
    max_length: int
    profile: Profile

    @property
    def total(self) -> int:
        """See `RowsSource`."""
        return self.ranges.total

    @property
    def holds_pairs(self) -> bool:
        """See `RowsSource`."""
        if self.detection is None:
            return self.format == PREFERENCE.name
        default = self.profile.name == DEFAULT_PROFILE
        return default and kinds_of(self.detection).mostly_preferences

    @property
    def statement(self) -> str:
        """What row formats were found, as one sentence."""
        if self.profile.reads:
            return f"format: {self.profile.reads}"
        if self.detection is None:
            return f"format: {self.format}, as asked for"
        return self.detection.statement

    @property
    def notes(self) -> tuple[str, ...]:
        """Further sentences that the user should see."""
        if self.detection is None or self.profile.name != DEFAULT_PROFILE:
            return ()
        return kinds_of(self.detection).notes

    def part(self, rows: range) -> Survey:
        """The same, with no more knowledge than these rows need: small enough to be sent around."""
        return replace(self, ranges=self.ranges.part(rows))

    def read(self, rows: range, tokenizer: PreTrainedTokenizerBase) -> RowsRead:
        """See `RowsSource`."""
        found = self.ranges.read(rows)
        tokenized = tokenize_rows_or_pairs(
            found,
            tokenizer,
            format=self.format,
            response=self.response,
            max_length=self.max_length,
            profile=self.profile,
            detection=self.detection,
        )
        return RowsRead.of(found, tuple(tokenized.scorable), tokenized.rejections)

    def first_plain(self, tokenizer: PreTrainedTokenizerBase) -> Mapping[str, Any] | None:
        """See `RowsSource`."""
        for start in range(0, self.total, AT_A_TIME):
            rows = range(start, min(start + AT_A_TIME, self.total))
            for row in self.read(rows, tokenizer).scorable:
                if isinstance(row, TokenizedExample):
                    return self.ranges.read(range(row.row, row.row + 1))[0].value
        return None


def survey_rows(
    source: DataSource,
    tokenizer: PreTrainedTokenizerBase,
    *,
    format: str,
    response: ResponseChoice,
    max_length: int,
    profile: Profile,
) -> Survey:
    """Look through an input, some rows at a time: where its rows are, and in what formats.

    Under a named format rows are only counted. The arguments are those of `load_examples`.

    Raises:
        DataError: A file, the format's name, the profile or the tokenizer's template cannot be
            used.
    """
    # What is unusable for every row is to be known before any of them is read.
    tokenize_rows_or_pairs([], tokenizer, format=format, profile=profile, max_length=max_length)
    ranges = row_ranges(source)
    if format != "auto":
        format_named(format)
        return Survey(ranges, format, None, response, max_length, profile)
    detections = (detect_format(rows) for rows in all_rows(ranges, AT_A_TIME))
    detection = reduce(joined_detection, detections)
    return Survey(ranges, format, detection, response, max_length, profile)
