"""What becomes of rows that are filtered in memory or as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradshield.threshold import Decision

PARTS = ("kept", "removed", "rejected")


@dataclass(frozen=True)
class FilterResult:
    """What became of the rows; every row is in exactly one of the three parts.

    Attributes:
        kept: Rows below the threshold, of the type that came in: a list, a `datasets.Dataset`, or
            an `IterableDataset`, which is read when it is asked for. Features, order and format
            are those that came in.
        removed: Rows at or above it.
        rejected: Rows that could not be scored; `scores` holds the reasons.
        scores: The score table, one line per row, with the columns of `RUN/scores`. Of a stream
            it is a `Dataset`, and what each token adds is left out; it is empty where the stream
            is scored while it is read.
        decision: The threshold, the rule and its diagnostics.
    """

    kept: Any
    removed: Any
    rejected: Any
    scores: Sequence[dict[str, Any]]
    decision: Decision


def select(rows: Any, positions: Sequence[int]) -> Any:
    """Rows at positions, as a data set where one came in."""
    if hasattr(rows, "select"):
        return rows.select(positions)
    return [rows[position] for position in positions]
