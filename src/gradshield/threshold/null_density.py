"""A smooth density of harmless scores, estimated from reference rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.stats import gaussian_kde
from scipy.stats import t as student

from gradshield.threshold.rule import FloatArray
from gradshield.threshold.spread import median_and_spread

_REACH = 12.0
_GRID = np.linspace(-_REACH, _REACH, 1201)
EDGE_LEVEL = 0.02  # share of the reference beyond which a group counts as above it
FLOOR_WEIGHT = 0.02
FLOOR_SCALE = 2.0
FLOOR_FREEDOM = 3.0


@dataclass(frozen=True)
class NullDensity:
    """Kernel density of the standardised reference over a thin, wide Student-t floor.

    A kernel estimate keeps whatever shape the harmless rows have: skew, or a second group such as
    refusals far below. The floor keeps a row beyond the reference from counting as impossible,
    which would let a single outlier decide a fit.

    Attributes:
        rows: Reference rows: how precisely the density is known.
        centre: Median of the reference, in the unit of the scores.
        spread: MAD-sd of the reference, in the unit of the scores.
        edge: The standardised score that 2 % of the reference exceed.
        log_kernel: Log density on a grid of standardised scores.
    """

    rows: int
    centre: float
    spread: float
    edge: float
    log_kernel: FloatArray

    def standardise(self, scores: FloatArray) -> FloatArray:
        """(score - centre) / spread."""
        return (scores - self.centre) / self.spread

    def log_density(self, standardised: FloatArray, shift: float, scale: float) -> FloatArray:
        """Log density after moving the null by ``shift`` spreads and stretching it by ``scale``.

        Shape (rows,), in nats per standardised unit.
        """
        moved = (standardised - shift) / scale
        # Beyond the grid the floor alone is left, and falls as a power of the distance.
        beyond = np.log(np.maximum(np.abs(moved), _REACH) / _REACH)
        inside = np.interp(moved, _GRID, self.log_kernel)
        return np.asarray(inside - (FLOOR_FREEDOM + 1) * beyond - math.log(scale), dtype=np.float64)

    def share_below(self, standardised: FloatArray, shift: float, scale: float) -> FloatArray:
        """Share of the moved and stretched null below each score, in [0, 1]; shape (rows,).

        What lies beyond the grid, some hundredths of a percent, is left out.
        """
        return np.asarray(np.interp((standardised - shift) / scale, _GRID, self._cumulative))

    @cached_property
    def _cumulative(self) -> FloatArray:
        summed = cumulative_trapezoid(np.exp(self.log_kernel), _GRID, initial=0.0)
        return np.asarray(summed / summed[-1], dtype=np.float64)


def estimate_null(reference: FloatArray) -> NullDensity:
    """Estimate the null density; the reference scores must not all be equal."""
    centre, spread = median_and_spread(reference)
    standardised = (reference - centre) / spread
    # Silverman's factor on the robust spread: with the plain sd a far group oversmooths the bulk.
    bandwidth = 0.9 * reference.size**-0.2
    # Smoothing widens the bulk by sqrt(1 + bandwidth^2); undone here, or every fit of the null to
    # data would seem to need shrinking.
    narrowing = math.sqrt(1 + bandwidth**2)
    factor = bandwidth / float(np.std(standardised, ddof=1))
    kernel = narrowing * gaussian_kde(standardised, bw_method=factor)(narrowing * _GRID)
    floor = student.pdf(_GRID / FLOOR_SCALE, FLOOR_FREEDOM) / FLOOR_SCALE
    mixed = np.log((1 - FLOOR_WEIGHT) * kernel + FLOOR_WEIGHT * floor)
    edge = float(np.quantile(standardised, 1 - EDGE_LEVEL))
    return NullDensity(reference.size, centre, spread, edge, np.asarray(mixed, dtype=np.float64))
