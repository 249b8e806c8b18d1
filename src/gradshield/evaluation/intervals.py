"""Confidence intervals: of a share, and of the difference of two measurements on the same items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, sem, t

DRAWS_AT_A_TIME = 2**22
"""Drawn items held in memory at once: 32 MiB of positions."""


@dataclass(frozen=True)
class Interval:
    """Both ends of a confidence interval, in the unit of what is estimated."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Mean of second - first over the same items, and its 95 % interval."""

    mean: float
    low: float
    high: float


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share (Wilson 1927, JASA 22, 209-212).

    With z the normal quantile, p the observed share and n the trials, its ends are
    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n). It stays within [0, 1] and
    keeps a width at 0 and n successes.

    Args:
        successes: Of the trials, between 0 and `trials`.
        trials: At least 1.
        confidence: Share of such intervals that hold the true share, in (0, 1).

    Returns:
        The interval, in [0, 1].

    Raises:
        ValueError: A count or the confidence lies outside its range.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"no share of {successes} successes in {trials} trials")
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence {confidence} is not between 0 and 1")
    found = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


def student(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of few independent measurements, such as those of seeds.

    Mean -+ t s / sqrt(n), with s the standard deviation (of n - 1) and t the quantile of n - 1
    degrees of freedom (Student 1908, Biometrika 6, 1-25).

    Args:
        values: At least 2.
        confidence: Share of such intervals that hold the true mean, in (0, 1).

    Raises:
        ValueError: There are fewer values than 2.
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} values have no spread: an interval needs at least 2")
    half = float(t.ppf((1 + confidence) / 2, len(values) - 1) * sem(values))
    mean = float(np.mean(values))
    return Interval(mean - half, mean + half)


def paired_bootstrap(
    first: Sequence[float], second: Sequence[float], seed: int, samples: int = 10_000
) -> Difference:
    """Mean difference of two measurements on the same items, with its percentile interval.

    Items are drawn with replacement, both measurements of an item together, so that what makes an
    item hard for both cancels (Efron and Tibshirani 1993, An Introduction to the Bootstrap,
    chapter 13).

    Args:
        first: One value for each item.
        second: The other value of the same items, in the same order.
        seed: Of the draws: the same seed gives the same interval.
        samples: Number of times that all items are drawn.

    Returns:
        Mean of second - first, and the 2.5th and 97.5th percentile of its bootstrap distribution.

    Raises:
        ValueError: The sequences differ in length or are empty, or `samples` is below 1.
    """
    if len(first) != len(second) or not first or samples < 1:
        raise ValueError(
            f"{len(first)} and {len(second)} values with {samples} samples: pass two sequences of "
            "the same length, at least 1, and at least 1 sample"
        )
    differences = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    means = _bootstrap_means(differences, samples, np.random.default_rng(seed))
    low, high = np.percentile(means, [2.5, 97.5])
    return Difference(float(differences.mean()), float(low), float(high))


def _bootstrap_means(
    values: np.ndarray, samples: int, generator: np.random.Generator
) -> np.ndarray:
    """Mean of each of `samples` draws of all values with replacement, [samples]."""
    rows = max(1, DRAWS_AT_A_TIME // len(values))
    return np.concatenate(
        [
            values[
                generator.integers(len(values), size=(min(rows, samples - start), len(values)))
            ].mean(axis=1)
            for start in range(0, samples, rows)
        ]
    )
