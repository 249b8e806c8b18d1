"""Which format each row of a file is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradshield.data.conversation import Conversation
from gradshield.data.formats.base import Format, missing_fields
from gradshield.data.formats.preference import PreferenceFormat
from gradshield.data.rows import SourceRow


@dataclass(frozen=True)
class FormatCount:
    """How many rows are in a format, and which comes first."""

    rows: int
    first: SourceRow


@dataclass(frozen=True)
class FormatDetection:
    """What formats a file is in.

    Attributes:
        format: The format of most rows, None if no row is of a known format.
        counts: By format name, in registry order; only formats that occur.
        statement: The finding as one sentence.
        formats: The formats that were tried.
    """

    format: Format | None
    counts: dict[str, FormatCount]
    statement: str
    formats: tuple[Format, ...]

    def to_conversation(self, value: dict[str, Any]) -> Conversation:
        """Read a row by the majority format if it has its fields, else by the first that fits.

        Raises:
            Rejection: "missing_field" if no format fits; whatever the format raises otherwise.
        """
        preferred: tuple[Format, ...] = () if self.format is None else (self.format,)
        for candidate in preferred + self.formats:
            if candidate.matches(value):
                return candidate.to_conversation(value)
        raise missing_fields(value, "one of: " + "; ".join(f.fields for f in self.formats))


def detect_among(formats: tuple[Format, ...], rows: Sequence[SourceRow]) -> FormatDetection:
    """Count the formats of the parsed rows; a tie goes to the earlier format of the registry."""
    members: dict[str, list[SourceRow]] = {}
    unknown: list[SourceRow] = []
    for row in rows:
        if row.value is not None:
            name = next((f.name for f in formats if f.matches(row.value)), None)
            (unknown if name is None else members.setdefault(name, [])).append(row)
    counts = {
        f.name: FormatCount(len(members[f.name]), members[f.name][0])
        for f in formats
        if f.name in members
    }
    majority = max(counts, key=lambda name: counts[name].rows, default=None)
    chosen = next((f for f in formats if f.name == majority), None)
    return FormatDetection(chosen, counts, _statement(counts, unknown), formats)


def _statement(counts: dict[str, FormatCount], unknown: list[SourceRow]) -> str:
    groups = [_group(name, count) for name, count in counts.items()]
    if unknown:
        groups.append(_group("no known format", FormatCount(len(unknown), unknown[0])))
    if not groups:
        return "format: no row could be parsed"
    # Plain rows and preferences are of two kinds, of which one is rejected.
    one_kind = PreferenceFormat.name not in counts
    mixed = "; each row is read by its own format" if len(counts) > 1 and one_kind else ""
    return f"format: {', '.join(groups)}{mixed}"


def _group(name: str, count: FormatCount) -> str:
    rows = "1 row" if count.rows == 1 else f"{count.rows} rows"
    return f"{name} ({rows}, first {count.first.place})"
