"""The published rule: one Gaussian against a mixture of two, by a likelihood ratio.

Source: GradShield (arXiv 2605.14194), with the constants of a public re-implementation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradshield.threshold.decision import Decision
from gradshield.threshold.gaussian import GaussianFits, fit_gaussians
from gradshield.threshold.rule import FloatArray

REQUIRED_GAIN = 10.0  # alpha, in nats
STANDARD_DEVIATIONS = 2.0


@dataclass(frozen=True)
class PaperRule:
    """Mixture threshold if two Gaussians fit better by 10 nats, else mean + 2 sd.

    With two components the threshold is min(highest score assigned to the lower one, highest
    score assigned to the upper one). What that yields depends on the spreads:

    - Usual case: the lower group ends first, the threshold is its own highest row, and since
      only rows strictly below are kept that one row is removed together with the upper group.
    - The lower component is the wide one and reaches above the upper group: the threshold is the
      highest row of the *upper* group, so that group is kept but for its top row.
    - The lower component is a small fringe far below: everything above the fringe is removed.

    ``level`` and the reference are not used.
    """

    name: str = "paper"

    def __call__(
        self, scores: FloatArray, reference: FloatArray | None, *, level: float, seed: int
    ) -> Decision:
        """Apply the rule; see `ThresholdRule`."""
        fits = fit_gaussians(scores, seed)
        two_groups = bool(np.any(fits.in_upper) and not np.all(fits.in_upper))
        if fits.gain > REQUIRED_GAIN and two_groups:
            threshold, reason = _between_groups(scores, fits)
        else:
            threshold = fits.single.mean + STANDARD_DEVIATIONS * fits.single.sd
            reason = (
                f"a mixture of two fits better than one Gaussian by only {fits.gain:.1f} nats "
                f"(needed: {REQUIRED_GAIN:g}), so the threshold is mean + 2 sd."
                if two_groups
                else "every row was assigned to one component, so the threshold is mean + 2 sd."
            )
        return Decision(threshold, self.name, reason, fits.as_diagnostics())


def _between_groups(scores: FloatArray, fits: GaussianFits) -> tuple[float, str]:
    highest_lower = float(np.max(scores[~fits.in_upper]))
    highest_upper = float(np.max(scores[fits.in_upper]))
    reason = (
        f"two Gaussians fit better than one by {fits.gain:.1f} nats; the upper one holds "
        f"{100 * float(np.mean(fits.in_upper)):.0f} % of the rows; the threshold is the highest "
        f"score of the {'lower' if highest_lower <= highest_upper else 'upper'} group."
    )
    return min(highest_lower, highest_upper), reason
