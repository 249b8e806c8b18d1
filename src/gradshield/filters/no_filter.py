"""No filter: every row is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradshield.filters.base import Material, Need, Row, Scores, fixed


@dataclass(frozen=True)
class NoFilter:
    """All rows score the same, and none is removed."""

    name: str = "none"
    needs: frozenset[Need] = frozenset()
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Zeros; see `Filter`."""
        return Scores(np.zeros(len(rows)), fixed(math.inf))
