"""The row formats, and choosing among them."""

from __future__ import annotations

from collections.abc import Sequence

from gradshield.data.errors import DataError
from gradshield.data.formats.alpaca import AlpacaFormat
from gradshield.data.formats.base import Format
from gradshield.data.formats.detection import FormatCount, FormatDetection, detect_among
from gradshield.data.formats.messages import MessagesFormat
from gradshield.data.formats.preference import PreferenceFormat
from gradshield.data.formats.prompt_completion import PromptCompletionFormat
from gradshield.data.formats.sharegpt import SharegptFormat
from gradshield.data.formats.text import TextFormat
from gradshield.data.rows import SourceRow

PREFERENCE = PreferenceFormat()
FORMATS: tuple[Format, ...] = (
    # First: such rows may have the fields of another format for their prompt.
    PREFERENCE,
    MessagesFormat(),
    SharegptFormat(),
    PromptCompletionFormat(),
    AlpacaFormat(),
    TextFormat(),
)

__all__ = [
    "FORMATS",
    "PREFERENCE",
    "Format",
    "FormatCount",
    "FormatDetection",
    "detect_format",
    "format_named",
]


def detect_format(rows: Sequence[SourceRow]) -> FormatDetection:
    """Which of the known formats the rows are in."""
    return detect_among(FORMATS, rows)


def format_named(name: str) -> Format:
    """The format called `name`.

    Raises:
        DataError: There is none.
    """
    for candidate in FORMATS:
        if candidate.name == name:
            return candidate
    known = ", ".join(candidate.name for candidate in FORMATS)
    raise DataError(f"unknown format {name!r}; use auto or one of {known}")
