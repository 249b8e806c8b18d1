"""The fitted groups behind a threshold, as curves: the null, and the group above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import norm

from gradshield.threshold.null_density import NullDensity, estimate_null
from gradshield.threshold.paper import REQUIRED_GAIN
from gradshield.threshold.rule import FloatArray
from gradshield.threshold.two_piece_t import TwoPieceT

LOWER, UPPER, SINGLE = "harmless group, as fitted", "group above it, as fitted", "one group, fitted"
REFERENCE = "harmless reference rows"


def fitted_densities(
    decision: Mapping[str, Any], reference: FloatArray | None, grid: FloatArray
) -> dict[str, FloatArray]:
    """Density of each fitted group on a grid of scores, times its share of the rows.

    Args:
        decision: The content of `decision.json`, of any rule; that of a search holds the decision
            from the scores alone.
        reference: Scores of the harmless reference rows, None where there are none.
        grid: Scores, shape (points,).

    Returns:
        By the name of the group; shape (points,), per unit of score. Empty where the rule fits
        nothing.
    """
    found = decision.get("diagnostics", {})
    if "from_scores_alone" in found:
        return fitted_densities(found["from_scores_alone"], reference, grid)
    if "shift" in found:
        return {} if reference is None else _aligned(found, estimate_null(reference), grid)
    if "single" in found:
        return _components(found, grid)
    if reference is not None and reference.size > 1 and np.ptp(reference) > 0:
        null = estimate_null(reference)
        at_rest = np.exp(null.log_density(null.standardise(grid), 0.0, 1.0)) / null.spread
        return {REFERENCE: at_rest}
    return {}


def _aligned(
    found: Mapping[str, Any], null: NullDensity, grid: FloatArray
) -> dict[str, FloatArray]:
    """The reference null as moved and stretched, and the group above it; rule `adaptive`."""
    standardised, share = null.standardise(grid), found["upper_weight"]
    moved = np.exp(null.log_density(standardised, found["shift"], found["scale"])) / null.spread
    if found["upper"] is None:
        return {LOWER: moved}
    upper = np.exp(TwoPieceT(**found["upper"]).log_density(standardised)) / null.spread
    return {LOWER: (1 - share) * moved, UPPER: share * upper}


def _components(found: Mapping[str, Any], grid: FloatArray) -> dict[str, FloatArray]:
    """One group or two, whichever the rule used; rules `heavy_tailed`, `mixture`, `paper`."""
    heavy_tailed = "mode" in found["single"]
    gain = found.get("log_likelihood_gain", 0.0)
    two = not found["warnings"] if "warnings" in found else gain > REQUIRED_GAIN
    if not two:
        return {SINGLE: _density(found["single"], grid)}
    above = found["upper_weight"] if heavy_tailed else found["upper"]["weight"]
    return {
        LOWER: (1 - above) * _density(found["lower"], grid),
        UPPER: above * _density(found["upper"], grid),
    }


def _density(component: Mapping[str, Any], grid: FloatArray) -> FloatArray:
    if "mode" in component:
        return np.exp(TwoPieceT(**component).log_density(grid))
    return np.asarray(norm.pdf(grid, component["mean"], component["sd"]), dtype=np.float64)
