"""A large sample summarised by few weighted values, so that a fit costs the same at any size."""

from __future__ import annotations

import numpy as np

from gradshield.threshold.rule import FloatArray

EXTREMES = 50  # rows at either end kept one by one: tails decide the fit
BLOCKS = 150


def weighted_blocks(scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means and sizes of runs of neighbouring sorted scores.

    Returns:
        Values in ascending order and their weights, both of shape (blocks,) with at most
        ``2 * EXTREMES + BLOCKS`` entries; the weights sum to the number of scores. Small samples
        come back row by row.
    """
    ordered = np.sort(scores)
    if ordered.size <= 2 * EXTREMES + BLOCKS:
        return ordered, np.ones(ordered.size)
    inner = np.linspace(EXTREMES, ordered.size - EXTREMES, BLOCKS, endpoint=False).astype(int)
    low, high = np.arange(EXTREMES), np.arange(ordered.size - EXTREMES, ordered.size)
    starts = np.concatenate([low, inner, high])
    weights = np.diff(np.append(starts, ordered.size)).astype(np.float64)
    return np.add.reduceat(ordered, starts) / weights, weights
