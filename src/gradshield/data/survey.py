"""What has to be known of a whole data file before any part of it can be read by itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gradshield.data.conversation import Rejection
from gradshield.data.formats import FormatDetection, detect_format, format_named, joined_detection
from gradshield.data.load import LoadedData, tokenize_rows
from gradshield.data.row_ranges import RowRanges, all_rows, row_ranges
from gradshield.data.template import ChatTemplate
from gradshield.data.tokenization import ResponseChoice, TokenizedExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


AT_A_TIME = 64
"""Strides of rows that a survey holds at a time."""


@dataclass(frozen=True)
class RowsRead:
    """Rows that were read and tokenised; each is in exactly one of `examples` and `rejections`.

    Attributes:
        examples: The rows that can be scored.
        rejections: Row position to the reason why it cannot be scored.
        ids: Row position to the row's own id, if it has one.
        lines: Row position to its 1-based line, if the file has lines.
    """

    examples: tuple[TokenizedExample, ...]
    rejections: dict[int, Rejection]
    ids: dict[int, str | int | None]
    lines: dict[int, int | None]


class RowsSource(Protocol):
    """A data file as a run reads it, a range of rows at a time."""

    @property
    def total(self) -> int:
        """Rows of the whole file."""

    def read(self, rows: range, tokenizer: PreTrainedTokenizerBase) -> RowsRead:
        """The rows at these positions, see `RowRanges.read`, with their tokens."""


@dataclass(frozen=True)
class InMemory:
    """A data file that was read and tokenised whole."""

    data: LoadedData

    @property
    def total(self) -> int:
        """See `RowsSource`."""
        return len(self.data.rows)

    def read(self, rows: range, tokenizer: PreTrainedTokenizerBase) -> RowsRead:
        """See `RowsSource`; there is nothing left to tokenise."""
        found = self.data.rows[rows.start : rows.stop]
        return RowsRead(
            tuple(self._examples[row] for row in rows if row in self._examples),
            {row: self.data.rejections[row] for row in rows if row in self.data.rejections},
            {row.position: row.own_id for row in found},
            {row.position: row.line for row in found},
        )

    @cached_property
    def _examples(self) -> dict[int, TokenizedExample]:
        return {example.row: example for example in self.data.examples}


@dataclass(frozen=True)
class Survey:
    """A data file that is read in parts, each as it would be read in the whole.

    Attributes:
        ranges: Where its rows are.
        format: A format's name, or "auto".
        detection: The formats of all its rows; None where the format was named.
        response: Which assistant turns carry loss.
        max_length: Greatest number of tokens of an example.
    """

    ranges: RowRanges
    format: str
    detection: FormatDetection | None
    response: ResponseChoice
    max_length: int

    @property
    def total(self) -> int:
        """See `RowsSource`."""
        return self.ranges.total

    @property
    def statement(self) -> str:
        """What row formats were found, as one sentence."""
        if self.detection is None:
            return f"format: {self.format}, as asked for"
        return self.detection.statement

    def part(self, rows: range) -> Survey:
        """The same, with no more knowledge than these rows need: small enough to be sent around."""
        return Survey(
            self.ranges.part(rows), self.format, self.detection, self.response, self.max_length
        )

    def read(self, rows: range, tokenizer: PreTrainedTokenizerBase) -> RowsRead:
        """See `RowsSource`."""
        found = self.ranges.read(rows)
        examples, rejections, _ = tokenize_rows(
            found,
            tokenizer,
            format=self.format,
            response=self.response,
            max_length=self.max_length,
            detection=self.detection,
        )
        return RowsRead(
            tuple(examples),
            rejections,
            {row.position: row.own_id for row in found},
            {row.position: row.line for row in found},
        )


def survey_rows(
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    format: str,
    response: ResponseChoice,
    max_length: int,
    stride: int,
) -> Survey:
    """Look through a data file, some rows at a time: where its rows are, and in what formats.

    Under a named format rows are only counted. The arguments are those of `load_examples` and
    `row_ranges`.

    Raises:
        DataError: The file, the format's name or the tokenizer's template cannot be used.
    """
    ChatTemplate(tokenizer)  # unusable for every row: say so before any of them is read
    ranges = row_ranges(path, stride)
    if format != "auto":
        format_named(format)
        return Survey(ranges, format, None, response, max_length)
    detections = (detect_format(rows) for rows in all_rows(ranges, AT_A_TIME * stride))
    return Survey(ranges, format, reduce(joined_detection, detections), response, max_length)
