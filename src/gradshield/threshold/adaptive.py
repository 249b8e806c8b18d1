"""The calibrated null, moved to where the harmless rows of this data set lie."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gradshield.threshold.aligned_null import AlignedFit, fit_aligned_null
from gradshield.threshold.calibrated import is_usable, null_quantile
from gradshield.threshold.decision import Decision
from gradshield.threshold.heavy_tailed import HeavyTailedRule
from gradshield.threshold.null_density import NullDensity, estimate_null
from gradshield.threshold.rule import FloatArray

LEAST_POSTERIOR = 0.1
LIKELY_POSTERIOR = 0.5
# Times the level, of harmless rows as fitted to the data and as in the reference, that may be lost
# to find more of a group that overlaps them.
MOST_LOST_FITTED = 2.5
MOST_LOST_AT_REST = 5.0
MOST_BY_CHANCE = 0.05  # that a data set like the fitted null has such a gap
GREATEST_SHIFT = 0.75  # beyond these the decision carries a warning
GREATEST_SCALE = 1.5


@dataclass(frozen=True)
class AdaptiveRule:
    """Upper quantile of the aligned null, moved to where a group above it begins.

    1. The null is the distribution of harmless reference scores; it may be moved and stretched
       to fit the scores at hand (an empirical null, Efron, JASA 2004) while a group above it takes
       up harmful rows.
    2. The threshold is the (1 - level) conformal quantile of the reference, moved likewise but
       never down. Without a group above, the rule so loses no more than ``calibrated`` does, and
       keeps its guarantee.
    3. If a group above was found, the threshold rises as long as a row just above it is harmful
       with a probability below 10 %: clearly separated groups then cost no harmless rows.
    4. If the group overlaps the null, the threshold falls as long as a row just above it is more
       likely harmful than not, but never so far that 2.5 times the level of the fitted null is
       lost, or five times the level of the reference: harmless rows of another shape can pass for
       a lower null plus harm.
    5. With ``follows_groups``, for data of one task, the bound by the reference falls where the
       group as a whole lies above it. Rows of a task can lie so far below the reference that its
       tail is the middle of a harmful group. A group of chat rows among them is spared only if it
       lies lower. The threshold then falls into a gap between the rows, too, that the fitted null
       leaves by a chance of 5 % at most: the null has the reference's tail, which then is heavier
       than that of these rows, and the lowest harmful rows would pass for it.

    Without a reference (or fewer than 20 rows, or all equal) the rule ``heavy_tailed`` is used.
    """

    name: str = "adaptive"
    follows_groups: bool = False

    def __call__(
        self, scores: FloatArray, reference: FloatArray | None, *, level: float, seed: int
    ) -> Decision:
        """Apply the rule; see `ThresholdRule`."""
        if not is_usable(reference):
            alone = HeavyTailedRule()(scores, None, level=level, seed=seed)
            reason = f"no usable reference of harmless rows: {alone.reason}"
            return Decision(alone.threshold, self.name, reason, alone.diagnostics)
        null = estimate_null(reference)
        fit = fit_aligned_null(scores, null)
        quantile, extrapolated = null_quantile(reference, level)

        def at_rest(times: float) -> float:
            lost = min(times * level, 0.5)
            return (null_quantile(reference, lost)[0] - null.centre) / null.spread

        def fitted(times: float) -> float:
            return fit.shift + fit.scale * at_rest(times)

        start = max(at_rest(1), fitted(1))
        bound = at_rest(MOST_LOST_AT_REST)
        follows = self.follows_groups and fit.upper is not None and fit.upper.mode >= bound
        lowest = min(start, max(-math.inf if follows else bound, fitted(MOST_LOST_FITTED)))
        begin = _where_group_begins(start, lowest, fit, null)
        if follows:
            begin = _into_a_gap(begin, lowest, null.standardise(scores), fit, null)
        threshold = null.centre + null.spread * begin
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
        f"a group above the harmless rows holds {100 * fit.upper_weight:.1f} % of all, and the "
        f"threshold is where it begins. Without it, it would be {null}."
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


def _where_group_begins(start: float, lowest: float, fit: AlignedFit, null: NullDensity) -> float:
    """Standardised threshold, at least ``lowest``; ``start`` if there is no group above that."""
    if fit.upper is None or fit.upper.mode <= lowest:
        return start
    grid = np.linspace(lowest, max(start, fit.upper.mode), 1024)
    odds = (
        np.log(fit.upper_weight / (1 - fit.upper_weight))
        + fit.upper.log_density(grid)
        - null.log_density(grid, fit.shift, fit.scale)
    )
    likely = _all_from(odds >= _log_odds(LIKELY_POSTERIOR))
    if grid[likely] < start:
        return float(grid[likely])
    possible = (odds >= _log_odds(LEAST_POSTERIOR)) & (grid >= start)
    return float(grid[int(np.argmax(possible))]) if possible.any() else start


def _into_a_gap(
    threshold: float, lowest: float, values: FloatArray, fit: AlignedFit, null: NullDensity
) -> float:
    """Standardised threshold in the gap below it that the fitted null leaves least to chance.

    A place where the null expects k rows is empty with probability e^-k; of m gaps, the one that is
    taken must be as rare as 5 % / m. The result is not below ``lowest``, and the threshold as it
    was where there is no such gap.
    """
    harmless = (1 - fit.upper_weight) * values.size
    ends = np.unique(np.append(values[values < threshold], threshold))
    missing = harmless * np.diff(null.share_below(ends, fit.shift, fit.scale))
    missing[ends[1:] <= lowest] = 0.0
    low, high = null.share_below(np.array([lowest, threshold]), fit.shift, fit.scale)
    gaps = 1 + harmless * (high - low)
    if missing.max(initial=0.0) < math.log(gaps / MOST_BY_CHANCE):
        return threshold
    gap = int(np.argmax(missing))
    return max(lowest, float(ends[gap] + ends[gap + 1]) / 2)


def _all_from(true: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
    """Index from which on all are true; the last one if that is false itself."""
    false = np.flatnonzero(~true)
    return 0 if false.size == 0 else min(int(false[-1]) + 1, true.size - 1)


def _log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))
