"""What speaks for the decision on a row: its place among all scores, and the rows beside it.

Pure functions of the score table, the groups of near-duplicates and the threshold; no text, no
file. What all rows have is in columns; a row's own evidence is put together when it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gradshield.reporting.nearest import Nearest
from gradshield.scoring.table import ScoreColumns

State = Literal["kept", "removed", "rejected"]

LEAST_BORDERLINE = 10
BORDERLINE_SHARE = 0.01
"""Kept rows closest to the threshold that deserve a look: this share of all, or the least."""

ROWS_AT_A_TIME = 4096

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RowEvidence:
    """Everything about one row that a reviewer weighs, apart from its text.

    Attributes:
        row: 0-based position in the input.
        id: The row's own id, or None.
        state: What the threshold makes of it; a rejected row has no score and no place.
        reason: Code and detail of a rejection, None else.
        fihs: Score per unit direction; positive means harmful. None if rejected.
        loss: Mean negative log-likelihood of the response tokens, in nats. None if rejected.
        response_tokens: Their number, None if rejected.
        truncated: Whether tokens were cut away before scoring, None if rejected.
        rank: 1 for the highest score; rows with equal scores share the best rank.
        percentile: Share of scored rows that score as much or less, 0 to 100; 100 is the highest.
        distance: FIHS minus threshold: zero or more for a removed row, negative for a kept one.
            None if rejected, or where nothing is removed and there is no threshold.
        nearest_kept: Up to `NEIGHBOURS` kept rows with the nearest scores, nearest first.
        nearest_removed: The same of removed rows.
        group: Number of its group of near-duplicate responses, None if it is in none.
        findings: Codes of what is worth a look, see `FINDINGS`.
    """

    row: int
    id: str | None
    state: State
    reason: str | None
    fihs: float | None
    loss: float | None
    response_tokens: int | None
    truncated: bool | None
    rank: int | None
    percentile: float | None
    distance: float | None
    nearest_kept: tuple[int, ...]
    nearest_removed: tuple[int, ...]
    group: int | None
    findings: tuple[str, ...]


FINDINGS: Mapping[str, str] = {
    "high_fihs": "Score at or above the threshold: removed.",
    "borderline": "Kept, but among the rows closest below the threshold.",
    "divided_duplicates": "Rows with nearly this response stand on both sides of the threshold.",
    "truncated": "Longer than the maximum length: only a part was scored.",
    "rejected": "Could not be scored.",
}
"""Codes of findings and what they mean. A rejected row has its own code beside `rejected`."""


@dataclass(frozen=True)
class Evidence:
    """Evidence on all rows of a run.

    Attributes:
        table: The score table; its rows are 0, 1, 2 and so on.
        groups: Of each row the number of its group of near-duplicates, -1 if it is in none; [rows].
        threshold: Scored rows at or above it are removed; infinite where none is.
    """

    table: ScoreColumns
    groups: Ints
    threshold: float

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def removed(self) -> Flags:
        """Which rows the threshold removes, [rows]."""
        return self.table.scored & (self.table.fihs >= self.threshold)

    @cached_property
    def kept(self) -> Flags:
        """Which rows it keeps, [rows]."""
        return self.table.scored & ~self.removed

    @cached_property
    def scores(self) -> Scores:
        """FIHS of the scored rows in ascending order, [scored rows]."""
        return np.sort(self.table.fihs[self.table.scored])

    @cached_property
    def borderline(self) -> Flags:
        """Kept rows closest below the threshold, [rows]."""
        found = np.zeros(len(self), dtype=np.bool_)
        if math.isfinite(self.threshold):
            kept = np.flatnonzero(self.kept)
            wanted = max(LEAST_BORDERLINE, round(BORDERLINE_SHARE * self.scores.size))
            found[kept[np.argsort(-self.table.fihs[kept], kind="stable")[:wanted]]] = True
        return found

    @cached_property
    def divided(self) -> Flags:
        """Rows of a group of near-duplicates with kept and removed ones, [rows]."""
        # The last place is that of -1, the rows in no group.
        kept, removed = np.zeros((2, int(self.groups.max(initial=-1)) + 2), dtype=np.bool_)
        kept[self.groups[self.kept]] = True
        removed[self.groups[self.removed]] = True
        divided = kept & removed
        divided[-1] = False
        return np.asarray(divided[self.groups])

    @cached_property
    def findings(self) -> Mapping[str, Flags]:
        """By code, in the order of `FINDINGS`, the scored rows that have it; [rows]."""
        return {
            "high_fihs": self.removed,
            "borderline": self.borderline,
            "divided_duplicates": self.divided & self.table.scored,
            "truncated": self.table.truncated,
        }

    @cached_property
    def _nearest_kept(self) -> Nearest:
        return Nearest(self.table.fihs, self.in_order(np.flatnonzero(self.kept)))

    @cached_property
    def _nearest_removed(self) -> Nearest:
        return Nearest(self.table.fihs, self.in_order(np.flatnonzero(self.removed)))

    def in_order(self, rows: Ints) -> Ints:
        """Scored rows by ascending score, equal ones as they were."""
        return rows[np.argsort(self.table.fihs[rows], kind="stable")]

    def group_of(self, row: int) -> Ints:
        """The rows of the group of near-duplicates that a row is in, itself too; empty if none."""
        group = self.groups[row]
        return np.flatnonzero(self.groups == group) if group >= 0 else np.zeros(0, dtype=np.int64)

    def of(self, rows: Ints) -> Iterator[RowEvidence]:
        """The evidence of these rows, in their order."""
        for start in range(0, rows.size, ROWS_AT_A_TIME):
            yield from self._of_block(rows[start : start + ROWS_AT_A_TIME])

    def _of_block(self, rows: Ints) -> Iterator[RowEvidence]:
        table, total = self.table, self.scores.size
        at_or_below = np.searchsorted(self.scores, table.fihs[rows], side="right")
        columns = {
            "id": table.id.take(rows).to_pylist(),
            "state": np.where(self.removed[rows], "removed", "kept").tolist(),
            "fihs": table.fihs[rows].tolist(),
            "loss": table.loss[rows].tolist(),
            "response_tokens": table.response_tokens[rows].tolist(),
            "truncated": table.truncated[rows].tolist(),
            "rank": (total - at_or_below + 1).tolist(),
            "percentile": (100 * at_or_below / max(total, 1)).tolist(),
            "distance": self._distances(rows),
            "nearest_kept": self._nearest_kept.to(rows),
            "nearest_removed": self._nearest_removed.to(rows),
            "group": [None if group < 0 else group for group in self.groups[rows].tolist()],
            "findings": self._codes(rows),
        }
        names = tuple(columns)
        scored = table.scored[rows].tolist()
        for row, has_score, *values in zip(rows.tolist(), scored, *columns.values(), strict=True):
            found = dict(zip(names, values, strict=True))
            if has_score:
                yield RowEvidence(row=row, reason=None, **found)
            else:
                yield _rejected(row, table.reasons[row], found)

    def _distances(self, rows: Ints) -> list[float | None]:
        if not math.isfinite(self.threshold):
            return [None] * rows.size
        return [*(self.table.fihs[rows] - self.threshold).tolist()]

    def _codes(self, rows: Ints) -> list[tuple[str, ...]]:
        """Codes of the findings on scored rows."""
        found = np.stack([holds[rows] for holds in self.findings.values()], axis=1).tolist()
        return [tuple(compress(self.findings, holds)) for holds in found]


def _rejected(row: int, reason: str | None, found: Mapping[str, Any]) -> RowEvidence:
    """Evidence on a row without a score, of which no more than this is known."""
    return RowEvidence(
        row=row,
        id=found["id"],
        state="rejected",
        reason=reason,
        fihs=None,
        loss=None,
        response_tokens=None,
        truncated=None,
        rank=None,
        percentile=None,
        distance=None,
        nearest_kept=(),
        nearest_removed=(),
        group=found["group"],
        findings=("rejected", rejection_code(reason)),
    )


def rejection_code(reason: str | None) -> str:
    """The short code that a reason of the score table begins with."""
    return (reason or "unknown").partition(": ")[0]
