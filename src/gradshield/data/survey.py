"""What has to be known of a whole input before any part of it can be read by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gradshield.data.conversation import Rejection
from gradshield.data.errors import DataError
from gradshield.data.formats import (
    PREFERENCE,
    FormatDetection,
    detect_format,
    format_named,
    joined_detection,
)
from gradshield.data.load import ResponseChoice, tokenize_rows_or_pairs
from gradshield.data.pairs import TokenizedPair, kinds_of
from gradshield.data.profiles import DEFAULT_PROFILE, Profile
from gradshield.data.row_ranges import RowRanges, all_rows, parts_of, row_ranges
from gradshield.data.rows import SourceRow
from gradshield.data.source import DataSource
from gradshield.data.tokenization import TokenizedExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AT_A_TIME = 1024
"""Rows that are in memory at a time while an input is looked through."""
MOST_LOOKED_THROUGH = 1_000_000
"""Rows of a named format: of more, which take minutes to parse, the bulkiest is not looked for."""
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


@dataclass(frozen=True)
class Survey:
    """An input that is read in parts, each as it would be read in the whole.

    Attributes:
        ranges: Where its rows are.
        format: A format's name, or "auto".
        detection: The formats of all its rows; None where the format was named.
        response: Which assistant turns carry loss.
        max_length: Greatest number of tokens of an example.
        profile: Whose tokens carry loss.
        bulkiest: Position of the row with most text, which few others exceed in tokens; None where
            there are too many rows to look through them for that alone.
    """

    ranges: RowRanges
    format: str
    detection: FormatDetection | None
    response: ResponseChoice
    max_length: int
    profile: Profile
    bulkiest: int | None

    @property
    def total(self) -> int:
        """Rows of the whole input."""
        return self.ranges.total

    @property
    def holds_pairs(self) -> bool:
        """Whether its rows are preferences."""
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
        """The rows at these neighbouring positions, with their tokens.

        Raises:
            DataError: A file of the input has changed, or cannot be read.
        """
        found = self.ranges.read(rows)
        if [row.position for row in found] != list(rows):
            raise DataError(
                f"rows {rows.start} to {rows.stop - 1} are not where they were: the input changed "
                "while it was read; score it again when nothing writes to it"
            )
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
        """The first plain row that can be scored, as it stands in the input."""
        for rows in self.parts():
            for row in self.read(rows, tokenizer).scorable:
                if isinstance(row, TokenizedExample):
                    return self.ranges.read(range(row.row, row.row + 1))[0].value
        return None

    def parts(self) -> Iterator[range]:
        """Its rows, as many at a time as are read together."""
        return parts_of(self.total, AT_A_TIME)


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

    The arguments are those of `load_examples`.

    Raises:
        DataError: A file, the format's name, the profile or the tokenizer's template cannot be
            used.
    """
    # What is unusable for every row is to be known before any of them is read.
    tokenize_rows_or_pairs([], tokenizer, format=format, profile=profile, max_length=max_length)
    if format != "auto":
        format_named(format)
    survey = Survey(row_ranges(source), format, None, response, max_length, profile, None)
    if format != "auto" and survey.total > MOST_LOOKED_THROUGH:
        return survey
    return _looked_through(survey)


def _looked_through(survey: Survey) -> Survey:
    """A survey with what only its rows tell."""
    detection: FormatDetection | None = None
    most, bulkiest = -1, 0
    for rows in all_rows(survey.ranges, AT_A_TIME):
        if survey.format == "auto":
            found = detect_format(rows)
            detection = found if detection is None else joined_detection(detection, found)
        for row in rows:
            if (size := _size(row)) > most:
                most, bulkiest = size, row.position
    return replace(survey, detection=detection, bulkiest=bulkiest)


def _size(row: SourceRow) -> int:
    """How long a row is as text."""
    return len(row.content) if row.content is not None else len(str(row.value))
