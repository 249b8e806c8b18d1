"""Fit of a reference null, allowed to move and stretch a little, plus a group above it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from gradshield.threshold.blocks import weighted_blocks
from gradshield.threshold.minimise import minimise
from gradshield.threshold.null_density import NullDensity
from gradshield.threshold.rule import FloatArray
from gradshield.threshold.two_piece_t import TwoPieceT

UPPER_FREEDOM = 8.0
# Prior sd, in spreads of the reference and on the log scale: data much like the reference is
# the rule, and where harmful rows overlap the null only the prior tells a shift from harm.
SHIFT_PRIOR = 0.5
LOG_SCALE_PRIOR = 0.25
# The null may move down freely but up by one spread at most: a data set of harmful rows alone
# must not pass as a shifted harmless one.
_NULL_BOUNDS = [(-4.0, 1.0), (math.log(0.3), math.log(1.6))]
_UPPER_BOUNDS = [(-7.0, 4.0), (-4.0, 4.0), (-2.5, 2.5)]


@dataclass(frozen=True)
class AlignedFit:
    """Everything in spreads of the reference, with the reference's median at 0.

    Attributes:
        shift: How far the harmless rows lie from the reference (positive: higher).
        scale: How much wider they are than the reference.
        upper: The group above, or None if the null alone explains the scores.
        upper_weight: Its share of the rows.
        gain: Penalised log-likelihood of null + group minus that of the null alone, in nats.
    """

    shift: float
    scale: float
    upper: TwoPieceT | None
    upper_weight: float
    gain: float


def fit_aligned_null(scores: FloatArray, null: NullDensity) -> AlignedFit:
    """Maximum a posteriori fit, with and without a group above; BIC decides between the two.

    The null is itself an estimate, and data cannot tell its errors from a group above. As in a
    comparison of two samples, the rows therefore count as n m / (n + m), with m reference rows.
    """
    values, weights = weighted_blocks(null.standardise(scores))
    effective_rows = scores.size * null.rows / (scores.size + null.rows)
    weights = weights * (effective_rows / scores.size)

    def prior(parameters: FloatArray) -> float:
        shift, log_scale = float(parameters[0]), float(parameters[1])
        return ((shift / SHIFT_PRIOR) ** 2 + (log_scale / LOG_SCALE_PRIOR) ** 2) / 2

    def null_loss(parameters: FloatArray) -> float:
        density = null.log_density(values, parameters[0], math.exp(parameters[1]))
        return prior(parameters) - float(weights @ density)

    def mixture_loss(parameters: FloatArray) -> float:
        share, upper = _upper(parameters, null.edge)
        mixed = np.logaddexp(
            math.log1p(-share) + null.log_density(values, parameters[0], math.exp(parameters[1])),
            math.log(share) + upper.log_density(values),
        )
        return prior(parameters) - float(weights @ mixed)

    alone = minimise(null_loss, np.zeros(2), _NULL_BOUNDS)
    fits = [
        minimise(mixture_loss, start, _NULL_BOUNDS + _UPPER_BOUNDS)
        for start in _starts(values, weights, alone.parameters, null.edge)
    ]
    best = min(fits, key=lambda fit: fit.loss)
    gain = alone.loss - best.loss
    if gain <= 1.5 * math.log(effective_rows):
        return AlignedFit(
            float(alone.parameters[0]), math.exp(alone.parameters[1]), None, 0.0, gain
        )
    share, upper = _upper(best.parameters, null.edge)
    return AlignedFit(float(best.parameters[0]), math.exp(best.parameters[1]), upper, share, gain)


def _upper(parameters: FloatArray, edge: float) -> tuple[float, TwoPieceT]:
    # Above the null's edge by construction: a second group inside the null's bulk would only mend
    # its shape, and move the threshold into the harmless rows.
    mode = float(parameters[0]) + edge * math.exp(parameters[1]) + math.exp(parameters[3])
    scale = math.exp(parameters[4])
    return float(expit(parameters[2])), TwoPieceT(mode, scale, scale, UPPER_FREEDOM)


def _starts(
    values: FloatArray, weights: FloatArray, alone: FloatArray, edge: float
) -> list[FloatArray]:
    """Start with the top 3, 20 and 50 % as the group above, the null at rest or as fitted alone."""
    shares = np.cumsum(weights) / np.sum(weights)
    low, high = np.array(_NULL_BOUNDS + _UPPER_BOUNDS).T
    starts = []
    for share, (shift, log_scale) in ((0.03, alone), (0.2, np.zeros(2)), (0.5, np.zeros(2))):
        above = float(np.interp(1 - share / 2, shares, values))
        distance = math.log(max(above - shift - edge, 0.5))
        start = [shift, log_scale, math.log(share / (1 - share)), distance, 0.0]
        starts.append(np.clip(start, low, high))
    return starts
