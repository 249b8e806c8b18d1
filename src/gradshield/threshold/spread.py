"""Centre and spread that a minority of outliers cannot move."""

from __future__ import annotations

import numpy as np

from gradshield.threshold.rule import FloatArray

MAD_TO_SD = 1.4826  # 1 / 0.6745, so that the MAD of a Gaussian sample estimates its sd


def median_and_spread(values: FloatArray) -> tuple[float, float]:
    """Median and MAD-based standard deviation, both in the unit of the values.

    Where more than half of the values are equal the MAD is zero; the ordinary standard deviation
    then stands in for it, so the spread is zero only if all values are equal.
    """
    centre = float(np.median(values))
    spread = MAD_TO_SD * float(np.median(np.abs(values - centre)))
    return centre, spread if spread > 0 else float(np.std(values))
