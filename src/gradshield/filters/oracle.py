"""The oracle: it knows which rows are harmful, so no filter can do better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradshield.filters.base import Material, Need, Row, Scores, fixed


@dataclass(frozen=True)
class Oracle:
    """Scores are the labels."""

    name: str = "oracle"
    needs: frozenset[Need] = frozenset({Need.LABELS})
    by_row: bool = False

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """1 for harmful rows and 0 for harmless ones; see `Filter`."""
        if material.labels is None or len(material.labels) != len(rows):
            raise ValueError("The oracle needs a label for every row: Material(labels=...).")
        return Scores(np.array(material.labels, dtype=np.float64), fixed(0.5))
