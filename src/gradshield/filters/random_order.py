"""Random controls: rows in a random order, and in one that is random but for their length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradshield.filters.base import Filter, Material, Need, Row, Scores, top_share

REMOVED_SHARE = 0.2
LIKE_LENGTHS = 8
"""Rows of about the same length that swap their scores."""


@dataclass(frozen=True)
class RandomOrder:
    """Any filter has to beat this one: removing rows at random."""

    name: str = "random"
    needs: frozenset[Need] = frozenset()
    by_row: bool = False

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Uniform in [0, 1); a fifth of the rows is removed. See `Filter`."""
        values = np.random.default_rng(material.seed).random(len(rows))
        return Scores(values, top_share(REMOVED_SHARE))


@dataclass(frozen=True)
class LengthMatchedRandom:
    """Another filter's scores, shuffled among rows with about as many response tokens.

    What is left of that filter's success is what it owes to length alone.
    """

    matched: Filter

    @property
    def name(self) -> str:
        """As in `FILTERS`."""
        return f"random_by_length_of_{self.matched.name}"

    @property
    def needs(self) -> frozenset[Need]:
        """Those of the filter that it follows."""
        return self.matched.needs

    @property
    def by_row(self) -> bool:
        """Never: scores are swapped between the rows of a data set."""
        return False

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """The other filter's scores in another order, with its threshold. See `Filter`."""
        theirs = self.matched.score(rows, material)
        lengths = np.array([row.example.response_tokens for row in rows])
        return Scores(
            shuffled_among_like(theirs.values, lengths, material.seed),
            theirs.cut,
            theirs.trainings,
        )


def shuffled_among_like(
    values: np.ndarray, lengths: np.ndarray, seed: int, like: int = LIKE_LENGTHS
) -> np.ndarray:
    """Values permuted within groups of `like` rows that are neighbours in length, [rows]."""
    generator = np.random.default_rng(seed)
    # Rows of the same length come in a random order, so that groups do not depend on the file's.
    by_length = np.lexsort((generator.random(len(lengths)), lengths))
    shuffled = np.empty_like(values)
    for start in range(0, len(by_length), like):
        group = by_length[start : start + like]
        shuffled[group] = values[generator.permutation(group)]
    return shuffled
