"""Mixture whose harmless component may itself be skewed and heavy-tailed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gradshield.threshold.decision import Decision
from gradshield.threshold.heavy_tailed_fit import HeavyTailedFits, fit_heavy_tailed
from gradshield.threshold.rule import FloatArray

LEAST_ROWS = 20
GREATEST_UPPER_WEIGHT = 2 / 3
GREATEST_MODE_RATIO = 0.8


@dataclass(frozen=True)
class HeavyTailedRule:
    """Two components only if one skewed Student-t cannot explain the scores.

    The mixture must win by BIC *and* show two modes with a valley between them: with many rows
    any misfit of one component makes a mixture win. The threshold is the posterior crossing
    between the modes, but not below the (1 - level) quantile of the lower component. Without a
    second component it is the (1 - level) quantile of the single fit. The reference is not used.
    """

    name: str = "heavy_tailed"

    def __call__(
        self, scores: FloatArray, reference: FloatArray | None, *, level: float, seed: int
    ) -> Decision:
        """Apply the rule; see `ThresholdRule`."""
        fits = fit_heavy_tailed(scores)
        objections = _objections(fits, scores.size)
        diagnostics: dict[str, Any] = {**asdict(fits), "warnings": objections}
        if objections:
            threshold = fits.single.upper_quantile(level)
            reason = (
                f"no second group ({objections[0]}); the threshold is what {100 * level:g} % of "
                "one fitted skewed Student-t exceed."
            )
            return Decision(threshold, self.name, reason, diagnostics)
        threshold = max(posterior_crossing(fits), fits.lower.upper_quantile(level))
        reason = (
            f"2 components fitted ({fits.gain:.0f} nats better than one); the upper one holds "
            f"{100 * fits.upper_weight:.1f} % of the rows; the threshold lies between them."
        )
        return Decision(threshold, self.name, reason, diagnostics)


def posterior_crossing(fits: HeavyTailedFits) -> float:
    """The score between the modes above which the upper component is the more probable one."""
    between = np.linspace(fits.lower.mode, fits.upper.mode, 512)
    # Between the modes the upper density only rises and the lower one only falls.
    return float(between[int(np.argmax(fits.log_odds(between) >= 0))])


def _objections(fits: HeavyTailedFits, rows: int) -> list[str]:
    """Why the mixture must not be used, one phrase each; empty if it may be."""
    found = []
    if rows < LEAST_ROWS:
        found.append(f"{rows} rows are too few for two components")
    needed = 1.5 * float(np.log(rows))  # BIC, three more parameters
    if fits.gain <= needed:
        found.append(f"two components fit better by {fits.gain:.1f} nats, BIC asks {needed:.1f}")
    if fits.upper_weight > GREATEST_UPPER_WEIGHT:
        found.append(f"the upper one would hold {100 * fits.upper_weight:.0f} % of the rows")
    if (ratio := _valley_ratio(fits)) > GREATEST_MODE_RATIO:
        found.append(f"no valley between them: it is {100 * ratio:.0f} % of the smaller peak")
    return found


def _valley_ratio(fits: HeavyTailedFits) -> float:
    """Lowest mixture density between the modes relative to the smaller of the two peaks."""
    between = np.linspace(fits.lower.mode, fits.upper.mode, 512)
    density = (1 - fits.upper_weight) * np.exp(fits.lower.log_density(between))
    density += fits.upper_weight * np.exp(fits.upper.log_density(between))
    return float(np.min(density) / min(density[0], density[-1]))
