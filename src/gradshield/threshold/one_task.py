"""The rule for data of one task: two groups that the scores themselves show."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

from gradshield.threshold.adaptive import AdaptiveRule
from gradshield.threshold.calibrated import is_usable
from gradshield.threshold.decision import Decision
from gradshield.threshold.heavy_tailed import GREATEST_UPPER_WEIGHT, posterior_crossing
from gradshield.threshold.heavy_tailed_fit import HeavyTailedFits, fit_heavy_tailed
from gradshield.threshold.rule import FloatArray

HIGH = 0.75
"""The quantile of the reference that lies between the groups."""
CHANCE = 0.01
MORE_PARAMETERS = 3
MOST_ROWS_COUNTED = 1000
"""Of any more, a task of another shape than the fitted one would pass for two groups: skewed ones
(exponential, log-normal) gain at most 4 nats of 1,000 rows."""


@dataclass(frozen=True)
class OneTaskRule:
    """Where a group above follows on the rows of the task, as the reference or the data show it.

    It decides as `AdaptiveRule` with ``follows_groups`` does, by the aligned null, or lower where
    two groups show in the data themselves. Rows of one task can lie so far below varied chat, and
    so close together, that a harmful group starts where they end and spreads no wider than the
    reference. Fitted with the reference's shape it is not seen; with a shape of its own the task
    ends, and the group is left over.

    1. One skewed Student-t is fitted to the scores, and one with a group above it
       (`fit_heavy_tailed`). Two must be likelier than a chance of 1 % (likelihood ratio, the rows
       counted as 1,000 at most), and the upper one hold two thirds of the rows at most.
    2. The threshold lies where a row is as likely of the one as of the other, and never loses
       more than ``level`` of the lower one.
    3. The reference says which of them is harm: what a quarter of it exceed must lie between the
       threshold and the upper mode. Two groups of harmless rows below, or data that are varied
       chat themselves, so change nothing.

    Where no such groups show, or the aligned null puts the threshold lower already, or there is no
    usable reference (fewer than 20 rows, or all equal), the aligned null decides.
    """

    name: str = "one_task"

    def __call__(
        self, scores: FloatArray, reference: FloatArray | None, *, level: float, seed: int
    ) -> Decision:
        """Apply the rule; see `ThresholdRule`."""
        aligned_null = AdaptiveRule(self.name, follows_groups=True)
        decision = aligned_null(scores, reference, level=level, seed=seed)
        if not is_usable(reference):
            return decision
        fits = fit_heavy_tailed(scores)
        threshold = max(posterior_crossing(fits), fits.lower.upper_quantile(level))
        high = float(np.quantile(reference, HIGH))
        shows = _two_groups(fits, scores.size) and threshold <= high < fits.upper.mode
        if not shows or threshold >= decision.threshold:
            return decision
        reason = (
            f"two groups show, with what {100 * (1 - HIGH):g} % of {reference.size} harmless "
            f"reference rows exceed between them; the upper one holds "
            f"{100 * fits.upper_weight:.1f} % of the rows, and the threshold is where it begins."
        )
        diagnostics: dict[str, Any] = {
            **asdict(fits),
            "reference_rows": reference.size,
            "reference_high": high,
            "aligned_null_threshold": decision.threshold,
            "warnings": [],
        }
        return Decision(threshold, self.name, reason, diagnostics)


def _two_groups(fits: HeavyTailedFits, rows: int) -> bool:
    """Whether a second group explains more than chance would, and is not most of the rows."""
    gain = fits.gain * min(rows, MOST_ROWS_COUNTED) / rows
    needed = float(chi2.isf(CHANCE, MORE_PARAMETERS)) / 2
    return gain > needed and fits.upper_weight <= GREATEST_UPPER_WEIGHT
