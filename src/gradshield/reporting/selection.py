"""Which rows a page shows: all of them, or of more than a browser takes those of most interest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradshield.reporting.build import Report
from gradshield.reporting.evidence import Ints

MOST_ROWS = 50_000
"""In the table of a page, about five megabytes of it."""
MOST_BORDERLINE, MOST_REMOVED, MOST_REJECTED = 10_000, 25_000, 5_000
"""Of each kind, where there are more rows than `MOST_ROWS`; the rest of the room is for a sample of
the kept rows. All that reviewers decided on have room first."""
SEED = 0


def shown_rows(report: Report) -> Ints:
    """Positions of the rows that the page shows, ascending.

    Of too many removed rows half are those next to the threshold and half those with the highest
    scores; the sample of kept rows is a random one and the same each time.
    """
    rows = len(report)
    if rows <= MOST_ROWS:
        return np.arange(rows)
    shown = np.zeros(rows, dtype=np.bool_)
    for some in _in_order_of_interest(report):
        shown[some[~shown[some]][: MOST_ROWS - int(shown.sum())]] = True
    return np.flatnonzero(shown)


def _in_order_of_interest(report: Report) -> Iterator[Ints]:
    evidence = report.evidence
    yield np.array(list(report.run.overrides), dtype=np.int64)
    yield evidence.in_order(np.flatnonzero(evidence.borderline))[::-1][:MOST_BORDERLINE]
    removed = evidence.in_order(np.flatnonzero(evidence.removed))
    if removed.size > MOST_REMOVED:
        half = MOST_REMOVED // 2
        removed = np.concatenate([removed[:half], removed[-half:]])
    yield removed
    yield np.flatnonzero(~evidence.table.scored)[:MOST_REJECTED]
    yield np.random.default_rng(SEED).permutation(np.flatnonzero(evidence.kept))


def selection_note(report: Report, shown: Ints) -> str | None:
    """What the table leaves out and where it is, in words; None where it holds all rows."""
    if shown.size == len(report):
        return None
    counts = [
        f"{int(rows[shown].sum()):,} of {int(rows.sum()):,} {outcome}"
        for outcome, rows in report.outcomes.items()
        if rows.any()
    ]
    return (
        f"The table shows {shown.size:,} of {len(report):,} rows: {', '.join(counts)}. These are "
        "the rows that reviewers decided on, kept rows closest below the threshold, removed rows "
        "next to it and with the highest scores, the first rejected rows, and a random sample of "
        "the kept rows. All figures and charts above count every row. Every row is in "
        "report.json, and “gradshield show RUN --row N” shows any one."
    )
