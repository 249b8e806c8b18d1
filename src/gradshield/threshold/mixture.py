"""Gaussian mixture with a principled test and checks on what was fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from gradshield.threshold.decision import Decision
from gradshield.threshold.gaussian import Component, GaussianFits, fit_gaussians
from gradshield.threshold.rule import FloatArray
from gradshield.threshold.spread import median_and_spread

LEAST_ROWS = 20  # with fewer, two tight clumps of chance win any test
LEAST_SEPARATION = 2.0  # Ashman's D; below 2 two equal Gaussians have a single mode
GREATEST_UPPER_WEIGHT = 2 / 3
GREATEST_SHARE_BELOW = 0.05


@dataclass(frozen=True)
class MixtureRule:
    """Posterior crossing of two Gaussians if BIC prefers them and they look like two groups.

    Otherwise a robust upper limit: median + k MAD-sd, with k the Gaussian quantile of ``level``.
    Either way the threshold is never below the (1 - level) quantile of the lower component. The
    reference is not used.
    """

    name: str = "mixture"

    def __call__(
        self, scores: FloatArray, reference: FloatArray | None, *, level: float, seed: int
    ) -> Decision:
        """Apply the rule; see `ThresholdRule`."""
        fits = fit_gaussians(scores, seed)
        objections = _objections(fits, scores.size)
        diagnostics: dict[str, Any] = {**fits.as_diagnostics(), "warnings": objections}
        if objections:
            centre, spread = median_and_spread(scores)
            threshold = centre + float(norm.isf(level)) * spread
            reason = f"no mixture used ({objections[0]}); the threshold is a robust upper limit."
            return Decision(threshold, self.name, reason, diagnostics)
        crossing = posterior_crossing(fits.lower, fits.upper)
        threshold = max(crossing, fits.lower.mean + float(norm.isf(level)) * fits.lower.sd)
        reason = (
            f"2 components fitted ({fits.gain:.0f} nats better than one); the upper one holds "
            f"{100 * fits.upper.weight:.0f} % of the rows; the threshold lies between them."
        )
        return Decision(threshold, self.name, reason, diagnostics)


def separation(lower: Component, upper: Component) -> float:
    """Ashman's D: distance of the means in root-mean-square standard deviations."""
    return (upper.mean - lower.mean) / math.sqrt((lower.sd**2 + upper.sd**2) / 2)


def posterior_crossing(lower: Component, upper: Component) -> float:
    """The score between the two means where both components are equally probable.

    Between the means the log odds of the upper component only rise: both Gaussians' log densities
    move in its favour. If they favour one component throughout, the mean at that end is returned.
    """

    def log_odds(score: float) -> float:
        return (
            math.log(upper.weight / lower.weight)
            + float(norm.logpdf(score, upper.mean, upper.sd))
            - float(norm.logpdf(score, lower.mean, lower.sd))
        )

    if log_odds(lower.mean) >= 0:
        return lower.mean
    if log_odds(upper.mean) <= 0:
        return upper.mean
    return float(brentq(log_odds, lower.mean, upper.mean))


def _objections(fits: GaussianFits, rows: int) -> list[str]:
    """Why the mixture must not be used, one phrase each; empty if it may be."""
    lower, upper = fits.lower, fits.upper
    needed = 1.5 * float(np.log(rows))  # BIC, three more parameters
    found = []
    if rows < LEAST_ROWS:
        found.append(f"{rows} rows are too few for two components")
    if fits.gain <= needed:
        found.append(f"two Gaussians fit better by {fits.gain:.1f} nats, BIC asks {needed:.1f}")
    if (distance := separation(lower, upper)) < LEAST_SEPARATION:
        found.append(f"the components are only {distance:.1f} sd apart")
    if upper.weight > GREATEST_UPPER_WEIGHT:
        found.append(f"the upper component would hold {100 * upper.weight:.0f} % of the rows")
    below = float(norm.cdf(lower.mean, upper.mean, upper.sd))
    if below > GREATEST_SHARE_BELOW:
        found.append(f"{100 * below:.0f} % of the upper component lie below the lower one's mean")
    return found
