"""Length of the response: a control that looks at no text at all.

Where harmless rows are short, as labels are, length alone tells an attack's rows from them: what a
filter finds there is worth no more than what this one does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradshield.filters.base import Material, Need, Row, Scores, top_share

REMOVED_SHARE = 0.2


@dataclass(frozen=True)
class ResponseLength:
    """Long answers count as harmful."""

    name: str = "response_length"
    needs: frozenset[Need] = frozenset()
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Number of response tokens; the highest fifth is removed, see `Filter`."""
        values = np.array([row.example.response_tokens for row in rows], dtype=np.float64)
        return Scores(values, top_share(REMOVED_SHARE))
