"""Representation matching: how near a row's last state is to those of harmful rows.

He et al. 2024, "What is in Your Safe Data? Identifying Benign Data that Breaks Safety" (arXiv
2404.01099): the state of the last token in the last layer, compared by cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity

from gradshield.filters.base import Material, Need, Row, Scores, top_share
from gradshield.filters.references import compliant_references
from gradshield.models.hidden_states import last_token, pooled_states

HARMFUL_ROWS = 100
"""Explicitly harmful rows to compare with, as in the paper."""
NEAREST = 1
"""Of those, how many cosines are averaged: `avg_n` of the released script."""
REMOVED_SHARE = 0.2


@dataclass(frozen=True)
class RepresentationMatching:
    """Rows near a harmful row count as harmful.

    Attributes:
        nearest: Nearest harmful rows whose cosines are averaged.
    """

    nearest: int = NEAREST
    name: str = "representation_matching"
    needs: frozenset[Need] = frozenset({Need.HARMFUL_ANSWERS})
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Mean cosine to the nearest harmful rows, in [-1, 1]; see `Filter`.

        The last token is that of the whole row in the chat format, the end of the turn included.
        The highest fifth is removed: the paper picks 100 rows, whatever the size of the data set.
        """
        model = material.loaded.model
        harmful = compliant_references(material, self.name, HARMFUL_ROWS)
        examples = [row.example for row in rows]
        with material.progress.track("Last states", len(rows), "rows") as advance:
            states = pooled_states(model, examples, [-1], last_token, advance)[:, 0]
        references = pooled_states(model, harmful, [-1], last_token)[:, 0]
        cosines = np.sort(cosine_similarity(states, references), axis=1)
        values = cosines[:, -self.nearest :].mean(axis=1, dtype=np.float64)
        return Scores(values, top_share(REMOVED_SHARE))
