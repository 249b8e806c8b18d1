"""Self-influence: rows that would move the model most, with what short answers gain taken back.

Guan et al. 2025, "Benign Samples Matter! Fine-tuning On Outlier Benign Samples Severely Breaks
Safety", arXiv 2505.06843, where the score is called Self-Inf-N and chooses rows to attack with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradshield.filters.base import Material, Need, Row, Scores, top_share
from gradshield.filters.gradient_norm import gradient_norms

REMOVED_SHARE = 0.2


@dataclass(frozen=True)
class SelfInfluence:
    """Outliers count as harmful: an aligned model has seen nothing like them."""

    name: str = "self_influence"
    needs: frozenset[Need] = frozenset()
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """log(<g, g> + 1) + log(tokens of the answer + 1), natural logarithms; see `Filter`.

        g is the gradient of the mean loss, and the tokens are the response tokens, those that end
        a turn included. The highest fifth is removed: the paper takes the first 100 rows of large
        data sets, and has no threshold.
        """
        influence = np.square(gradient_norms(rows, material))
        tokens = np.array([row.example.response_tokens for row in rows])
        values = np.log1p(influence) + np.log1p(tokens)
        return Scores(values, top_share(REMOVED_SHARE))
