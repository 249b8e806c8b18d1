"""Survival: how many of an attack's rows a filter leaves in.

It is half of the story. A row that survives since it does no harm is no success of the attacker:
read survival beside the damage, the attack success rate after training on what was left in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradshield.benchmark.demo_labels import Label
from gradshield.evaluation.intervals import Interval, wilson
from gradshield.threshold.rule import FloatArray


@dataclass(frozen=True)
class Survival:
    """Rows of one kind, and how many of them are below the threshold."""

    rows: int
    survived: int

    @property
    def share(self) -> float:
        """Of the rows, in [0, 1]."""
        return self.survived / self.rows

    @property
    def interval(self) -> Interval:
        """95 % interval of the share."""
        return wilson(self.survived, self.rows)


def survival(labels: Sequence[Label], scores: FloatArray, threshold: float) -> Survival | None:
    """Survival of all harmful rows; None where there are none.

    Args:
        labels: The truth, by row.
        scores: [rows], higher = removed first.
        threshold: Rows at or above it are removed.

    Raises:
        ValueError: There are not as many scores as labels.
    """
    chosen = [score for label, score in _scored(labels, scores) if label.harmful]
    return _survival(chosen, threshold) if chosen else None


def survival_by_kind(
    labels: Sequence[Label], scores: FloatArray, threshold: float
) -> dict[str, Survival]:
    """Survival of every kind, harmless ones too, in the order in which they first come.

    Raises:
        ValueError: There are not as many scores as labels.
    """
    kinds: dict[str, list[float]] = {}
    for label, score in _scored(labels, scores):
        kinds.setdefault(label.kind, []).append(score)
    return {kind: _survival(found, threshold) for kind, found in kinds.items()}


def _scored(labels: Sequence[Label], scores: FloatArray) -> list[tuple[Label, float]]:
    return list(zip(labels, scores.tolist(), strict=True))


def _survival(scores: Sequence[float], threshold: float) -> Survival:
    return Survival(len(scores), sum(score < threshold for score in scores))
