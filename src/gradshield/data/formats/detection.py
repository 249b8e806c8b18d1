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
        unknown: Rows of no known format, None if there is no such row.
        formats: The formats that were tried.
    """

    format: Format | None
    counts: dict[str, FormatCount]
    unknown: FormatCount | None
    formats: tuple[Format, ...]

    @property
    def statement(self) -> str:
        """The finding as one sentence."""
        groups = [_group(name, count) for name, count in self.counts.items()]
        if self.unknown is not None:
            groups.append(_group("no known format", self.unknown))
        if not groups:
            return "format: no row could be parsed"
        # Plain rows and preferences are of two kinds, of which one is rejected.
        one_kind = PreferenceFormat.name not in self.counts
        several = len(self.counts) > 1 and one_kind
        mixed = "; each row is read by its own format" if several else ""
        return f"format: {', '.join(groups)}{mixed}"

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
    counts = {name: FormatCount(len(found), found[0]) for name, found in members.items()}
    return _detection(formats, counts, FormatCount(len(unknown), unknown[0]) if unknown else None)


def joined_detection(first: FormatDetection, second: FormatDetection) -> FormatDetection:
    """What `detect_among` would have found in the rows of the first and then the second."""
    counts = dict(first.counts)
    for name, count in second.counts.items():
        counts[name] = _sum(counts.get(name), count)
    unknown = first.unknown
    if second.unknown is not None:
        unknown = _sum(unknown, second.unknown)
    return _detection(first.formats, counts, unknown)


def _sum(first: FormatCount | None, second: FormatCount) -> FormatCount:
    return second if first is None else FormatCount(first.rows + second.rows, first.first)


def _detection(
    formats: tuple[Format, ...], counts: dict[str, FormatCount], unknown: FormatCount | None
) -> FormatDetection:
    in_order = {f.name: counts[f.name] for f in formats if f.name in counts}
    majority = max(in_order, key=lambda name: in_order[name].rows, default=None)
    chosen = next((f for f in formats if f.name == majority), None)
    return FormatDetection(chosen, in_order, unknown, formats)


def _group(name: str, count: FormatCount) -> str:
    rows = "1 row" if count.rows == 1 else f"{count.rows} rows"
    return f"{name} ({rows}, first {count.first.place})"
