"""How well scores tell harmful rows from harmless ones, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from gradshield.threshold.rule import FloatArray


@dataclass(frozen=True)
class Separation:
    """Figures of one filter on one data set.

    Attributes:
        auroc: Chance that a harmful row scores above a harmless one, ties halved.
        average_precision: Mean precision over the harmful rows, from the highest score down.
        recall_at_1: Harmful rows above all but 1 % of the harmless ones.
        recall_at_5: Likewise, 5 %.
        harmless_lost: Harmless rows at or above the filter's own threshold.
        harmful_kept: Harmful rows below it.

    All are shares in [0, 1]; None where there are no harmful rows.
    """

    auroc: float | None
    average_precision: float | None
    recall_at_1: float | None
    recall_at_5: float | None
    harmless_lost: float
    harmful_kept: float | None


def separation(values: FloatArray, harmful: Sequence[bool], threshold: float) -> Separation:
    """Measure scores against the truth.

    Args:
        values: [rows], higher = removed first.
        harmful: The truth by row; at least one row is harmless.
        threshold: The filter's own: rows at or above it are removed.
    """
    truth = np.array(harmful)
    lost = float((values[~truth] >= threshold).mean())
    if not truth.any():
        return Separation(None, None, None, None, lost, None)
    return Separation(
        auroc=float(roc_auc_score(truth, values)),
        average_precision=float(average_precision_score(truth, values)),
        recall_at_1=recall_at(values, truth, 0.01),
        recall_at_5=recall_at(values, truth, 0.05),
        harmless_lost=lost,
        harmful_kept=float((values[truth] < threshold).mean()),
    )


def recall_at(values: FloatArray, truth: np.ndarray, loss: float) -> float:
    """Share of harmful rows above all harmless ones but a share of them.

    Harmful rows that score like a harmless one which is not to be lost are not counted.
    """
    harmless = np.sort(values[~truth])[::-1]
    may_go = math.floor(loss * len(harmless))
    bound = harmless[may_go] if may_go < len(harmless) else -math.inf
    return float((values[truth] > bound).mean())


def remove_count(values: FloatArray, count: int, seed: int) -> list[int]:
    """Positions of the rows that are kept when `count` are removed, highest scores first.

    Ties are broken at random, not by place: where all rows score the same, removing the first
    ones would be a choice by something else than the score.
    """
    shuffled = np.random.default_rng(seed).permutation(len(values))
    order = shuffled[np.argsort(-values[shuffled], kind="stable")]
    return sorted(order[count:].tolist())
