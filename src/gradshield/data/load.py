"""From a data file to tokenised examples, with an account of every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradshield.data.containers import Container, open_container
from gradshield.data.conversation import Conversation, Rejection
from gradshield.data.errors import DataError
from gradshield.data.formats import FormatDetection, detect_format, format_named
from gradshield.data.rows import SourceRow
from gradshield.data.template import ChatTemplate
from gradshield.data.tokenization import (
    ResponseChoice,
    TokenizedExample,
    tokenize_conversation,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class LoadedData:
    """Everything that was read from a data file.

    Every row is in exactly one of `examples` and `rejections`.

    Attributes:
        source: The file or folder.
        container: What kind of file it is, for writing subsets of it.
        format_statement: What row formats were found, as one sentence.
        notes: Further sentences that the user should see.
        rows: The rows in file order.
        examples: The rows that can be scored, by row order.
        rejections: Row position to the reason why it cannot be scored.
        blank_lines: Lines with white space only; they are not rows.
        ids: For each row its own `id`, a string or an integer, or None.
    """

    source: Path
    container: Container
    format_statement: str
    notes: tuple[str, ...]
    rows: list[SourceRow]
    examples: list[TokenizedExample]
    rejections: dict[int, Rejection]
    blank_lines: int
    ids: list[str | int | None]

    @property
    def truncated(self) -> int:
        """Number of examples of which tokens were cut away."""
        return sum(example.truncated for example in self.examples)


def load_examples(
    path: str | Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    format: str = "auto",
    response: ResponseChoice = "all",
    max_length: int | None = 2048,
    progress: Callable[[int], None] | None = None,
) -> LoadedData:
    """Read a data file and tokenise its rows.

    Args:
        path: A JSON Lines, JSON, CSV, TSV or Parquet file, one of the first four compressed, or
            a folder saved by the `datasets` library.
        tokenizer: The tokenizer of the model that scores.
        format: Name of the row format, or "auto" to find each row's own.
        response: Which assistant turns carry loss, "all" or the "last".
        max_length: Greatest number of tokens of an example, at least 2; None for no limit.
        progress: Called with the number of rows that are done, after each row.

    Raises:
        DataError: The file, the format's name or the tokenizer's template cannot be used. What
            is wrong with a single row is in the result's `rejections`.
    """
    if max_length is not None and max_length < 2:
        raise DataError(f"a maximum length of {max_length} leaves no token to predict; use 2048")
    source = Path(path)
    container = open_container(source)
    ChatTemplate(tokenizer)  # unusable for every row: say so before any of them is read
    rows = container.read(source)
    facts = container.facts(source)
    examples, rejections, statement = tokenize_rows(
        rows,
        tokenizer,
        format=format,
        response=response,
        max_length=max_length,
        progress=progress,
    )
    return LoadedData(
        source=source,
        container=container,
        format_statement=statement,
        notes=facts.notes,
        rows=rows,
        examples=examples,
        rejections=rejections,
        blank_lines=facts.blank_lines,
        ids=[row.own_id for row in rows],
    )


def tokenize_rows(
    rows: Sequence[SourceRow],
    tokenizer: PreTrainedTokenizerBase,
    *,
    format: str = "auto",
    response: ResponseChoice = "all",
    max_length: int | None = 2048,
    progress: Callable[[int], None] | None = None,
    detection: FormatDetection | None = None,
) -> tuple[list[TokenizedExample], dict[int, Rejection], str]:
    """Tokenise rows that are already in memory; the arguments are those of `load_examples`.

    Rows that are only some of a file's are read alike in all parts of it with the `detection` of
    the whole file, under `format="auto"`.

    Returns:
        The examples by row order, the rejections by row position, and what formats were found.
        Every row is in exactly one of the first two.
    """
    read, statement = _reader(format, rows, detection)
    examples: list[TokenizedExample] = []
    rejections: dict[int, Rejection] = {}
    for row in rows:
        try:
            example = tokenize_conversation(
                _conversation(row, read),
                tokenizer,
                row=row.position,
                response=response,
                max_length=max_length,
            )
            examples.append(example)
        except Rejection as rejection:
            rejections[row.position] = rejection
        if progress is not None:
            progress(row.position + 1)
    return examples, rejections, statement


def _reader(
    name: str, rows: Sequence[SourceRow], detection: FormatDetection | None
) -> tuple[Callable[[dict[str, Any]], Conversation], str]:
    """How to read a row in the format called `name`, and a sentence that says so."""
    if name == "auto":
        detection = detection or detect_format(rows)
        return detection.to_conversation, detection.statement
    chosen = format_named(name)
    return chosen.to_conversation, f"format: {chosen.name}, as asked for"


def _conversation(row: SourceRow, read: Callable[[dict[str, Any]], Conversation]) -> Conversation:
    if row.value is None:
        raise Rejection(row.reason, row.error or f"{row.place} could not be parsed")
    return read(row.value)
