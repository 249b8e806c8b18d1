"""What rows have that is not scored, counted and said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

PART = " part"
"""How entries of `TokenizedExample.left_out` end that are parts of a content, by their type."""


def omission_notes(left_out: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """A sentence for each kind of thing that is left out, with the number of rows.

    Args:
        left_out: Of each row, see `TokenizedExample.left_out`.
    """
    lists = [entries for entries in left_out if entries]
    notes = []
    parts = Counter(entry.removesuffix(PART) for entries in lists for entry in _parts(entries))
    if parts:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(parts.items()))
        notes.append(
            f"{_rows(sum(bool(_parts(entries)) for entries in lists))} parts that are no text "
            f"({kinds}): only the text beside them is scored"
        )
    rows = Counter(entry for entries in lists for entry in {*entries} - {*_parts(entries)})
    for what, count in sorted(rows.items()):
        notes.append(f"{_rows(count)} {what}")
    return tuple(notes)


def _parts(entries: Sequence[str]) -> list[str]:
    return [entry for entry in entries if entry.endswith(PART)]


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count} rows have"
