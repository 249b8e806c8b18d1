"""What speaks for the decision on a row: its place among all scores, and the rows beside it.

Pure functions of the score table and the threshold; no text, no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gradshield.reporting.duplicates import near_duplicates, responses_of

State = Literal["kept", "removed", "rejected"]

NEIGHBOURS = 3
"""Nearest kept and nearest removed rows of each row."""

SHOWN_DUPLICATES = 20
"""A group can hold thousands of rows, such as equal refusals; the number of the group finds all."""

LEAST_BORDERLINE = 10
BORDERLINE_SHARE = 0.01
"""Kept rows closest to the threshold that deserve a look: this share of all, or the least."""


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
        duplicates: The first `SHOWN_DUPLICATES` other rows of that group.
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
    duplicates: tuple[int, ...]
    findings: tuple[str, ...]


FINDINGS: Mapping[str, str] = {
    "high_fihs": "Score at or above the threshold: removed.",
    "borderline": "Kept, but among the rows closest below the threshold.",
    "divided_duplicates": "Rows with nearly this response stand on both sides of the threshold.",
    "truncated": "Longer than the maximum length: only a part was scored.",
    "rejected": "Could not be scored.",
}
"""Codes of findings and what they mean. A rejected row has its own code beside `rejected`."""


def gather_evidence(lines: Sequence[Mapping[str, Any]], threshold: float) -> dict[int, RowEvidence]:
    """Evidence of every row, by row, in the order of the lines.

    Args:
        lines: The score table; see `gradshield.scoring.table.SCHEMA`.
        threshold: Scored rows at or above it are removed; infinite where none is.
    """
    scored = [line for line in lines if line["status"] == "scored"]
    scores = np.array([line["fihs"] for line in scored], dtype=np.float64)
    ascending = np.sort(scores)
    states = {line["row"]: state_of(line, threshold) for line in lines}
    nearest = {
        wanted: _Nearest([line for line in scored if states[line["row"]] == wanted])
        for wanted in ("kept", "removed")
    }
    borderline = _borderline(scored, threshold)
    groups = near_duplicates(responses_of(lines))
    members = rows_by_group(groups)
    divided = {
        group
        for group, rows in members.items()
        if {states[row] for row in rows} >= {"kept", "removed"}
    }
    found = {}
    for line in lines:
        row, fihs, state = line["row"], line["fihs"], states[line["row"]]
        group = groups.get(row)
        others = [] if group is None else members[group][: SHOWN_DUPLICATES + 1]
        at_or_below = 0 if fihs is None else int(np.searchsorted(ascending, fihs, side="right"))
        found[row] = RowEvidence(
            row=row,
            id=line["id"],
            state=state,
            reason=line["reason"],
            fihs=fihs,
            loss=line["loss"],
            response_tokens=line["response_tokens"],
            truncated=line["truncated"],
            rank=None if fihs is None else len(ascending) - at_or_below + 1,
            percentile=None if fihs is None else 100 * at_or_below / len(ascending),
            distance=_distance(fihs, threshold),
            nearest_kept=nearest["kept"].to(row, fihs),
            nearest_removed=nearest["removed"].to(row, fihs),
            group=group,
            duplicates=tuple(other for other in others if other != row)[:SHOWN_DUPLICATES],
            findings=_findings(line, state, row in borderline, group in divided),
        )
    return found


def state_of(line: Mapping[str, Any], threshold: float) -> State:
    """What the threshold makes of a line of the score table."""
    if line["status"] != "scored":
        return "rejected"
    return "removed" if line["fihs"] >= threshold else "kept"


def _distance(fihs: float | None, threshold: float) -> float | None:
    return None if fihs is None or not math.isfinite(threshold) else fihs - threshold


class _Nearest:
    """Rows of one state by score, to find those next to a score."""

    def __init__(self, lines: Sequence[Mapping[str, Any]]) -> None:
        in_order = sorted(lines, key=lambda line: (line["fihs"], line["row"]))
        self.rows = [line["row"] for line in in_order]
        self.scores = np.array([line["fihs"] for line in in_order], dtype=np.float64)

    def to(self, row: int, fihs: float | None) -> tuple[int, ...]:
        """The rows with the nearest scores, nearest first, the row itself left out."""
        if fihs is None:
            return ()
        # Enough on either side, whichever of them are the nearest.
        low, high = (int(np.searchsorted(self.scores, fihs, side=s)) for s in ("left", "right"))
        near = range(max(0, low - NEIGHBOURS - 1), min(len(self.rows), high + NEIGHBOURS + 1))
        if high - low > 4 * NEIGHBOURS:  # many equal scores: any of them are the nearest
            near = range(low, low + NEIGHBOURS + 1)
        by_distance = sorted(
            (abs(float(self.scores[i]) - fihs), self.rows[i]) for i in near if self.rows[i] != row
        )
        return tuple(other for _, other in by_distance[:NEIGHBOURS])


def _borderline(scored: Sequence[Mapping[str, Any]], threshold: float) -> set[int]:
    if not math.isfinite(threshold):
        return set()
    kept = sorted((line for line in scored if line["fihs"] < threshold), key=lambda e: -e["fihs"])
    wanted = max(LEAST_BORDERLINE, round(BORDERLINE_SHARE * len(scored)))
    return {line["row"] for line in kept[:wanted]}


def rows_by_group(groups: Mapping[int, int]) -> dict[int, list[int]]:
    """The rows of each group, in order."""
    rows: dict[int, list[int]] = {}
    for row, group in sorted(groups.items()):
        rows.setdefault(group, []).append(row)
    return rows


def _findings(
    line: Mapping[str, Any], state: State, borderline: bool, divided: bool
) -> tuple[str, ...]:
    if state == "rejected":
        return ("rejected", rejection_code(line["reason"]))
    found = {
        "high_fihs": state == "removed",
        "borderline": borderline,
        "divided_duplicates": divided,
        "truncated": bool(line["truncated"]),
    }
    return tuple(code for code, holds in found.items() if holds)


def rejection_code(reason: str | None) -> str:
    """The short code that a reason of the score table begins with."""
    return (reason or "unknown").partition(": ")[0]
