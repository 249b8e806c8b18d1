"""The rows with the nearest scores, for as many rows at once as are asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NEIGHBOURS = 3
"""Nearest kept and nearest removed rows of each row."""

Ints = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


class Nearest:
    """Some rows by score, to find those next to a score.

    Args:
        fihs: Scores of all rows, [rows of the run].
        rows: Those to find, by ascending score, equal ones by their number.
    """

    def __init__(self, fihs: Scores, rows: Ints) -> None:
        self._fihs, self._rows, self._scores = fihs, rows, fihs[rows]

    def to(self, rows: Ints) -> list[tuple[int, ...]]:
        """Of each row, those with the nearest scores, nearest first, the row itself left out."""
        if not self._rows.size:
            return [()] * rows.size
        wanted = self._fihs[rows][:, np.newaxis]
        low, high = (np.searchsorted(self._scores, wanted, side=s) for s in ("left", "right"))
        # Enough on either side, whichever of them are the nearest.
        first, end = low - NEIGHBOURS - 1, high + NEIGHBOURS + 1
        many = high - low > 4 * NEIGHBOURS  # many equal scores: any of them are the nearest
        first, end = np.where(many, low, first), np.where(many, low + NEIGHBOURS + 1, end)
        at = first + np.arange(6 * NEIGHBOURS + 2)
        there = (at >= 0) & (at < np.minimum(end, self._rows.size))
        at = at.clip(0, self._rows.size - 1)
        others, distances = self._rows[at], np.abs(self._scores[at] - wanted)
        distances[~there | (others == rows[:, np.newaxis])] = np.inf
        order = np.lexsort((others, distances))[:, :NEIGHBOURS]
        nearest = np.take_along_axis(others, order, axis=1).tolist()
        counts = np.isfinite(np.take_along_axis(distances, order, axis=1)).sum(axis=1).tolist()
        return [tuple(found[:count]) for found, count in zip(nearest, counts, strict=True)]
