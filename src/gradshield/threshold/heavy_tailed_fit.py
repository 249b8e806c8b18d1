"""Maximum-likelihood fits of one skewed Student-t, and of a mixture with a t component above it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from gradshield.threshold.blocks import weighted_blocks
from gradshield.threshold.minimise import minimise
from gradshield.threshold.rule import FloatArray
from gradshield.threshold.spread import median_and_spread
from gradshield.threshold.two_piece_t import TwoPieceT

UPPER_FREEDOM = 8.0  # of the upper component: fixed, its tail is not what separates the groups
# Standardised bounds: log scales, log degrees of freedom (2 to 100), logit of the upper weight.
_NULL_BOUNDS = [(-4.0, 4.0), (-3.0, 2.0), (-3.0, 2.0), (math.log(2.0), math.log(100.0))]
_UPPER_BOUNDS = [(-6.0, 3.0), (-1.0, 4.0), (-3.0, 2.5)]


@dataclass(frozen=True)
class HeavyTailedFits:
    """The two competing fits; parameters in the unit of the scores.

    Attributes:
        single: The one skewed t.
        lower: The lower component of the mixture.
        upper: The upper component of the mixture (symmetric).
        upper_weight: Its share of the rows.
        gain: Log-likelihood of the mixture minus that of the single component, in nats.
    """

    single: TwoPieceT
    lower: TwoPieceT
    upper: TwoPieceT
    upper_weight: float
    gain: float

    def log_odds(self, scores: FloatArray) -> FloatArray:
        """Log odds of the upper component at each score, shape (rows,)."""
        prior = math.log(self.upper_weight / (1 - self.upper_weight))
        odds = prior + self.upper.log_density(scores) - self.lower.log_density(scores)
        return np.asarray(odds, dtype=np.float64)


def fit_heavy_tailed(scores: FloatArray) -> HeavyTailedFits:
    """Fit both by bounded quasi-Newton on standardised scores, the mixture from three starts."""
    centre, spread = median_and_spread(scores)
    values, weights = weighted_blocks((scores - centre) / spread)

    def single_loss(parameters: FloatArray) -> float:
        return -float(weights @ _null(parameters).log_density(values))

    def mixture_loss(parameters: FloatArray) -> float:
        lower, upper, share = _mixture(parameters)
        mixed = np.logaddexp(
            math.log1p(-share) + lower.log_density(values),
            math.log(share) + upper.log_density(values),
        )
        return -float(weights @ mixed)

    single_start = np.array([0.0, 0.0, 0.0, math.log(8.0)])
    single = minimise(single_loss, single_start, _NULL_BOUNDS)
    mixtures = [
        minimise(mixture_loss, start, _NULL_BOUNDS + _UPPER_BOUNDS)
        for start in _mixture_starts(values, weights)
    ]
    best = min(mixtures, key=lambda fit: fit.loss)
    lower, upper, share = _mixture(best.parameters)
    return HeavyTailedFits(
        single=_rescale(_null(single.parameters), centre, spread),
        lower=_rescale(lower, centre, spread),
        upper=_rescale(upper, centre, spread),
        upper_weight=share,
        gain=single.loss - best.loss,
    )


def _null(parameters: FloatArray) -> TwoPieceT:
    mode, left, right, freedom = parameters[:4].tolist()
    return TwoPieceT(mode, math.exp(left), math.exp(right), math.exp(freedom))


def _mixture(parameters: FloatArray) -> tuple[TwoPieceT, TwoPieceT, float]:
    lower = _null(parameters)
    # The distance of the modes is positive by construction, so the components cannot swap.
    mode, scale = lower.mode + math.exp(parameters[5]), math.exp(parameters[6])
    return lower, TwoPieceT(mode, scale, scale, UPPER_FREEDOM), float(expit(parameters[4]))


def _mixture_starts(values: FloatArray, weights: FloatArray) -> list[FloatArray]:
    """Split the sorted rows after 50, 80 and 97 % and start from the two parts' own shapes."""
    shares = np.cumsum(weights) / np.sum(weights)
    starts = []
    for lower_share in (0.5, 0.8, 0.97):
        below = values[shares <= lower_share]
        above = values[shares > lower_share]
        centre, spread = median_and_spread(below)
        gap = max(float(np.median(above)) - centre, 0.4)
        log_spread = math.log(max(spread, 0.06))
        log_above = math.log(max(median_and_spread(above)[1], 0.06))
        share = math.log((1 - lower_share) / lower_share)
        starts.append([centre, log_spread, log_spread, 2.0, share, math.log(gap), log_above])
    bounds = np.array(_NULL_BOUNDS + _UPPER_BOUNDS)
    return [np.clip(start, bounds[:, 0], bounds[:, 1]) for start in starts]


def _rescale(component: TwoPieceT, centre: float, spread: float) -> TwoPieceT:
    return TwoPieceT(
        centre + spread * component.mode,
        spread * component.left,
        spread * component.right,
        component.freedom,
    )
