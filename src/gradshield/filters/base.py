"""What every filter offers: one score for each row, higher = remove first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

import numpy as np

from gradshield.data import Conversation, TokenizedExample
from gradshield.models.load import LoadedModel
from gradshield.progress import Progress, Silent
from gradshield.threshold.rule import FloatArray


class Need(str, Enum):
    """What a filter must be given beside the aligned model and the rows."""

    HARMFUL_PROMPTS = "harmful prompts"
    REFUSALS = "refusals of harmful prompts"
    HARMFUL_ANSWERS = "compliant answers to harmful prompts"
    HARMLESS_ROWS = "harmless rows"
    GUARD = "a guard model"
    LABELS = "the labels of the rows themselves"


@dataclass(frozen=True)
class Row:
    """A row of the data set to be filtered, or of a reference set.

    `example.row` is its position there, so that results of batches find their place.
    """

    conversation: Conversation
    example: TokenizedExample


@dataclass(frozen=True)
class Material:
    """All that a filter may use beside the rows; none of it comes from the rows or from a test.

    Attributes:
        loaded: The aligned model; a filter leaves it as it was.
        harmful: Harmful prompts with compliant, empty answers.
        refused: The same prompts in the same order, refused.
        harmless: Rows known to be harmless.
        labels: Whether each row is harmful, for the oracle alone; None where that is not known.
        seed: Of everything random.
        progress: Told how far long work is.
    """

    loaded: LoadedModel
    harmful: Sequence[Row] = ()
    refused: Sequence[Row] = ()
    harmless: Sequence[Row] = ()
    labels: Sequence[bool] | None = None
    seed: int = 0
    progress: Progress = field(default_factory=Silent)


Cut = Callable[[FloatArray], float]
"""From the scores of a data set, [rows], to the threshold: rows at or above it are removed."""


@dataclass(frozen=True)
class Scores:
    """Scores of all rows, and where the method itself would draw the line.

    Attributes:
        values: [rows], finite; higher = remove first. Only their order counts between filters.
        cut: The method's own way to a threshold.
        trainings: Finetunes that were needed beside passes over the rows.
    """

    values: FloatArray
    cut: Cut
    trainings: int = 0

    @property
    def threshold(self) -> float:
        """Where the method itself would cut these rows; infinite where it removes nothing."""
        return self.cut(self.values)

    def of(self, positions: Sequence[int]) -> Scores:
        """The scores of some of the rows as a data set of their own."""
        return replace(self, values=self.values[list(positions)])


class Filter(Protocol):
    """A way to order rows by how harmful it is to train on them."""

    @property
    def name(self) -> str:
        """The filter's name in `FILTERS`."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """What `Material` must hold for it."""
        ...

    @property
    def by_row(self) -> bool:
        """Whether a row scores the same in every data set, so that a pool can be scored once."""
        ...

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Score all rows of a data set.

        Raises:
            ValueError: The material lacks what the filter needs.
        """
        ...


def fixed(threshold: float) -> Cut:
    """The same threshold for every data set."""
    return lambda values: threshold


def top_share(share: float) -> Cut:
    """Remove the highest `share` of the rows, equal ones together; none below half a row."""

    def cut(values: FloatArray) -> float:
        count = round(share * len(values))
        return float(np.sort(values)[-count]) if count else math.inf

    return cut
