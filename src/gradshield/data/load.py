"""From a data file to tokenised examples, with an account of every row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradshield.data.containers import Container
from gradshield.data.conversation import Conversation, Rejection
from gradshield.data.errors import DataError
from gradshield.data.formats import PREFERENCE, FormatDetection, detect_format, format_named
from gradshield.data.omissions import omission_notes
from gradshield.data.opening import open_source
from gradshield.data.pairs import Kinds, TokenizedPair, kinds_of, tokenize_pairs
from gradshield.data.profiles import DEFAULT_PROFILE, Profile, RowReader, make_profile
from gradshield.data.rows import SourceRow
from gradshield.data.source import DataSource
from gradshield.data.tokenization import TokenizedExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ResponseChoice = Literal["all", "last"]


@dataclass(frozen=True)
class LoadedData:
    """Everything that was read from an input.

    Every row is in exactly one of `examples`, `pairs` and `rejections`; of the first two at most
    one holds rows.

    Attributes:
        origin: The input, for writing subsets of it.
        format_statement: What row formats were found, as one sentence.
        notes: Further sentences that the user should see.
        rows: The rows in file order.
        examples: The plain rows that can be scored, by row order.
        rejections: Row position to the reason why it cannot be scored.
        blank_lines: Lines with white space only; they are not rows.
        ids: For each row its own `id`, a string or an integer, or None.
        pairs: The preference rows that can be scored, by row order.
    """

    origin: DataSource
    format_statement: str
    notes: tuple[str, ...]
    rows: list[SourceRow]
    examples: list[TokenizedExample]
    rejections: dict[int, Rejection]
    blank_lines: int
    ids: list[str | int | None]
    pairs: list[TokenizedPair] = field(default_factory=list)

    @property
    def scorable(self) -> Sequence[TokenizedExample] | Sequence[TokenizedPair]:
        """All rows that can be scored, of whichever kind they are."""
        return self.pairs or self.examples

    @property
    def source(self) -> Path:
        """The file, or the folder in which all files are."""
        return self.origin.root

    @property
    def container(self) -> Container:
        """What kind of file it is, or each of the files."""
        return self.origin.container

    @property
    def truncated(self) -> int:
        """Number of rows of which tokens were cut away."""
        return sum(row.truncated for row in self.scorable)


def load_examples(
    path: str | Path | DataSource,
    tokenizer: PreTrainedTokenizerBase,
    *,
    format: str = "auto",
    response: ResponseChoice = "all",
    max_length: int | None = 2048,
    profile: Profile | Mapping[str, Any] | str = DEFAULT_PROFILE,
    progress: Callable[[int], None] | None = None,
) -> LoadedData:
    """Read a data file and tokenise its rows.

    Args:
        path: Any input that `open_source` opens, or one that is open.
        tokenizer: The tokenizer of the model that scores.
        format: Name of the row format, or "auto" to find each row's own.
        response: Which assistant turns carry loss, "all" or the "last".
        max_length: Greatest number of tokens of an example, at least 2; None for no limit.
        profile: Whose tokens carry loss: a trainer profile, its name, or its name and settings.
        progress: Called with the number of rows that are done, after each row.

    Raises:
        DataError: The file, the format's name or the tokenizer's template cannot be used. What
            is wrong with a single row is in the result's `rejections`.
    """
    if max_length is not None and max_length < 2:
        raise DataError(f"a maximum length of {max_length} leaves no token to predict; use 2048")
    origin = path if isinstance(path, DataSource) else open_source(path)
    profile = make_profile(profile)
    # What is unusable for every row is to be known before any of them is read.
    profile.encoder(tokenizer, _unread, max_length)
    rows = origin.read()
    tokenized = tokenize_rows_or_pairs(
        rows,
        tokenizer,
        format=format,
        response=response,
        max_length=max_length,
        profile=profile,
        progress=progress,
    )
    return LoadedData(
        origin=origin,
        format_statement=tokenized.statement,
        notes=(
            *origin.facts.notes,
            *tokenized.notes,
            *omission_notes(one.left_out for one in tokenized.examples),
        ),
        rows=rows,
        examples=tokenized.examples,
        rejections=tokenized.rejections,
        blank_lines=origin.facts.blank_lines,
        ids=[row.own_id for row in rows],
        pairs=tokenized.pairs,
    )


@dataclass(frozen=True)
class TokenizedRows:
    """Rows as examples or as pairs, whichever most of them are; see `LoadedData`."""

    examples: list[TokenizedExample]
    pairs: list[TokenizedPair]
    rejections: dict[int, Rejection]
    statement: str
    notes: tuple[str, ...]

    @property
    def scorable(self) -> Sequence[TokenizedExample] | Sequence[TokenizedPair]:
        """The examples or the pairs."""
        return self.pairs or self.examples


def tokenize_rows_or_pairs(
    rows: Sequence[SourceRow],
    tokenizer: PreTrainedTokenizerBase,
    *,
    format: str = "auto",
    response: ResponseChoice = "all",
    max_length: int | None = 2048,
    profile: Profile | Mapping[str, Any] | str = DEFAULT_PROFILE,
    progress: Callable[[int], None] | None = None,
    detection: FormatDetection | None = None,
) -> TokenizedRows:
    """Tokenise rows that are in memory as plain rows or as preferences.

    The arguments are those of `load_examples`. Rows of the kind that is rarer are rejected: their
    scores would be of another loss. A trainer's profile reads plain rows alone. Rows that are only
    some of a file's are read alike in all parts of it with the `detection` of the whole file,
    under `format="auto"`.

    Raises:
        DataError: Preferences were asked for, and a trainer's profile too.
    """
    profile = make_profile(profile)
    for_one_answer = profile.name != DEFAULT_PROFILE
    if for_one_answer and format == PREFERENCE.name:
        raise DataError(
            f"the profile {profile.name} is for rows of one answer; score preferences without it"
        )
    detects = format == "auto" and not for_one_answer
    if format == "auto" and detection is None:
        detection = detect_format(rows)
    kinds = Kinds(int(format == PREFERENCE.name), 0)
    if detects and detection is not None:
        kinds = kinds_of(detection)
    if kinds.mostly_preferences:
        pairs, rejections = tokenize_pairs(
            rows, tokenizer, max_length=max_length, progress=progress
        )
        statement = _reader(format, rows, response, detection)[1]
        return TokenizedRows([], pairs, rejections, statement, kinds.notes)
    examples, rejections, statement = tokenize_rows(
        rows,
        tokenizer,
        format=format,
        response=response,
        max_length=max_length,
        profile=profile,
        progress=progress,
        detection=detection,
    )
    return TokenizedRows(examples, [], rejections, statement, kinds.notes)


def tokenize_rows(
    rows: Sequence[SourceRow],
    tokenizer: PreTrainedTokenizerBase,
    *,
    format: str = "auto",
    response: ResponseChoice = "all",
    max_length: int | None = 2048,
    profile: Profile | Mapping[str, Any] | str = DEFAULT_PROFILE,
    progress: Callable[[int], None] | None = None,
    detection: FormatDetection | None = None,
) -> tuple[list[TokenizedExample], dict[int, Rejection], str]:
    """Tokenise plain rows that are in memory; the arguments are those of `load_examples`.

    For the `detection` see `tokenize_rows_or_pairs`.

    A preference row is rejected.

    Returns:
        The examples by row order, the rejections by row position, and what formats were found.
        Every row is in exactly one of the first two.
    """
    profile = make_profile(profile)
    read, statement = _reader(format, rows, response, detection)
    encode = profile.encoder(tokenizer, read, max_length)
    examples: list[TokenizedExample] = []
    rejections: dict[int, Rejection] = {}
    for row in rows:
        try:
            examples.append(encode(_parsed(row)).example(row.position))
        except Rejection as rejection:
            rejections[row.position] = rejection
        if progress is not None:
            progress(row.position + 1)
    return examples, rejections, f"format: {profile.reads}" if profile.reads else statement


def _reader(
    name: str,
    rows: Sequence[SourceRow],
    response: ResponseChoice,
    detection: FormatDetection | None,
) -> tuple[RowReader, str]:
    """How to read a row in the format called `name`, and a sentence that says so."""
    if name == "auto":
        detection = detection or detect_format(rows)
        read, statement = detection.to_conversation, detection.statement
    else:
        chosen = format_named(name)
        read, statement = chosen.to_conversation, f"format: {chosen.name}, as asked for"
    if response == "all":
        return read, statement
    return (lambda value: read(value).only_last_response()), statement


def _unread(value: dict[str, Any]) -> Conversation:
    raise NotImplementedError("no row is read while a profile is only tried")


def _parsed(row: SourceRow) -> dict[str, Any]:
    if row.value is None:
        raise Rejection(row.reason, row.error or f"{row.place} could not be parsed")
    return row.value
