"""The calibrated null, moved to where the harmless rows of this data set lie."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gradshield.threshold.aligned_null import AlignedFit, fit_aligned_null
from gradshield.threshold.calibrated import LEAST_REFERENCE, null_quantile
from gradshield.threshold.decision import Decision
from gradshield.threshold.heavy_tailed import HeavyTailedRule
from gradshield.threshold.null_density import NullDensity, estimate_null
from gradshield.threshold.rule import FloatArray

LEAST_POSTERIOR = 0.1
GREATEST_SHIFT = 0.75  # beyond these the decision carries a warning
GREATEST_SCALE = 1.5


@dataclass(frozen=True)
class AdaptiveRule:
    """Upper quantile of the aligned null, raised into the gap if there is one.

    1. The null is the distribution of harmless reference scores; it may be moved and stretched
       to fit the scores at hand (an empirical null, Efron, JASA 2004) while a group above it takes
       up harmful rows.
    2. The threshold is the (1 - level) conformal quantile of the reference, moved likewise but
       never down: harmless rows of another shape, or without a group that the reference has, can
       pass for a lower null plus harm. So the rule loses no more than ``calibrated`` does, and
       keeps its guarantee.
    3. If a group above was found, the threshold rises as long as a row just above it is harmful
       with a probability below 10 %: clearly separated groups then cost no harmless rows.

    Without a reference (or fewer than 20 rows, or all equal) the rule ``heavy_tailed`` is used.
    """

    name: str = "adaptive"

    def __call__(
        self, scores: FloatArray, reference: FloatArray | None, *, level: float, seed: int
    ) -> Decision:
        """Apply the rule; see `ThresholdRule`."""
        if reference is None or reference.size < LEAST_REFERENCE or np.ptp(reference) == 0:
            alone = HeavyTailedRule()(scores, None, level=level, seed=seed)
            reason = f"no usable reference of harmless rows: {alone.reason}"
            return Decision(alone.threshold, self.name, reason, alone.diagnostics)
        null = estimate_null(reference)
        fit = fit_aligned_null(scores, null)
        quantile, extrapolated = null_quantile(reference, level)
        at_rest = (quantile - null.centre) / null.spread
        start = max(at_rest, fit.shift + fit.scale * at_rest)
        threshold = null.centre + null.spread * _raise_into_gap(start, fit, null)
        diagnostics: dict[str, Any] = {
            **asdict(fit),
            "reference_rows": reference.size,
            "reference_centre": null.centre,
            "reference_spread": null.spread,
            "calibrated_threshold": quantile,
            "warnings": _warnings(fit, extrapolated),
        }
        return Decision(threshold, self.name, _reason(fit, reference.size, level), diagnostics)


def _reason(fit: AlignedFit, reference_rows: int, level: float) -> str:
    null = (
        f"what {100 * level:g} % of {reference_rows} harmless reference rows exceed (this data's "
        f"harmless rows lie {fit.shift:+.2f} sd from them and are {fit.scale:.2f} times as wide)"
    )
    if fit.upper is None:
        return f"no group above the harmless rows; the threshold is {null}."
    return (
        f"a group above the harmless rows holds {100 * fit.upper_weight:.1f} % of all; the "
        f"threshold is at or above {null}."
    )


def _warnings(fit: AlignedFit, extrapolated: bool) -> list[str]:
    found = []
    if abs(fit.shift) > GREATEST_SHIFT or not 1 / GREATEST_SCALE < fit.scale < GREATEST_SCALE:
        found.append(
            f"the harmless rows look unlike the reference (moved by {fit.shift:+.2f} sd, "
            f"{fit.scale:.2f} times as wide): check rows near the threshold by eye"
        )
    if fit.upper_weight > 0.5:
        found.append(
            f"{100 * fit.upper_weight:.0f} % of the rows look harmful: check that the reference "
            "was scored with the same model and direction"
        )
    if extrapolated:
        found.append("too few reference rows for this level; their tail was extrapolated")
    return found


def _raise_into_gap(start: float, fit: AlignedFit, null: NullDensity) -> float:
    """Standardised score from which a row is harmful with 10 % probability; at least ``start``."""
    if fit.upper is None or fit.upper.mode <= start:
        return start
    grid = np.linspace(start, fit.upper.mode, 512)
    odds = (
        np.log(fit.upper_weight / (1 - fit.upper_weight))
        + fit.upper.log_density(grid)
        - null.log_density(grid, fit.shift, fit.scale)
    )
    return float(grid[int(np.argmax(odds >= np.log(LEAST_POSTERIOR / (1 - LEAST_POSTERIOR))))])
