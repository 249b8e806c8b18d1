"""The calibrated null: conformal p-values against scores of harmless rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from gradshield.threshold.decision import Decision
from gradshield.threshold.rule import FloatArray

LEAST_REFERENCE = 20
TAIL_SHARE = 0.2  # of the reference, used to extrapolate beyond its highest score
LEAST_TAIL = 10


@dataclass(frozen=True)
class CalibratedRule:
    """Remove rows whose conformal p-value against the harmless reference is at most ``level``.

    If a harmless row is exchangeable with the reference, the chance of losing it is at most
    ``level``, whatever the distribution (Vovk et al., *Algorithmic Learning in a Random World*).
    A reference too small for the level is extrapolated; the guarantee is then lost, and said so.

    Raises:
        ValueError: No reference, or one of fewer than 20 rows.
    """

    name: str = "calibrated"

    def __call__(
        self, scores: FloatArray, reference: FloatArray | None, *, level: float, seed: int
    ) -> Decision:
        """Apply the rule; see `ThresholdRule`."""
        reference = require_reference(reference, self.name)
        threshold, extrapolated = null_quantile(reference, level)
        share = 100 * float(np.mean(scores >= threshold))
        reason = (
            f"{share:.1f} % of the rows score above all but the top {100 * level:g} % of "
            f"{reference.size} harmless reference rows."
        )
        warnings = []
        if extrapolated:
            warnings.append(
                f"{reference.size} reference rows are too few for level {level:g} (at least "
                f"{math.ceil(1 / level) - 1} needed); the tail was extrapolated"
            )
        diagnostics = {"reference_rows": reference.size, "level": level, "warnings": warnings}
        return Decision(threshold, self.name, reason, diagnostics)


def is_usable(reference: FloatArray | None) -> TypeGuard[FloatArray]:
    """Whether there are reference rows, at least 20 and not all equal, to fit a null to."""
    if reference is None or reference.size < LEAST_REFERENCE:
        return False
    return bool(np.ptp(reference) > 0)


def require_reference(reference: FloatArray | None, rule: str) -> FloatArray:
    """Return the reference, or say what is missing.

    Raises:
        ValueError: It is None or has fewer than 20 rows.
    """
    rows = 0 if reference is None else reference.size
    if reference is None or rows < LEAST_REFERENCE:
        raise ValueError(
            f"the rule '{rule}' compares scores with those of harmless reference rows and needs "
            f"at least {LEAST_REFERENCE} of them (got {rows}): score a set of harmless rows with "
            "the same model and direction and pass it as the reference, or choose a rule that "
            "works from the scores alone ('heavy_tailed', 'mixture', 'paper')."
        )
    return reference


def conformal_p_values(scores: FloatArray, reference: FloatArray) -> FloatArray:
    """P = (1 + number of reference scores at or above the score) / (reference rows + 1).

    Returns:
        Shape (rows,); small means more harmful than the harmless reference.
    """
    at_or_above = reference.size - np.searchsorted(np.sort(reference), scores, side="left")
    return np.asarray((1 + at_or_above) / (reference.size + 1), dtype=np.float64)


def null_quantile(reference: FloatArray, level: float) -> tuple[float, bool]:
    """The lowest threshold at and above which every conformal p-value is at most ``level``.

    Returns:
        The threshold, and whether it had to be extrapolated beyond the reference.
    """
    # The tiny term keeps e.g. 0.06 * 50 = 3 from rounding to 2.
    allowed_above = math.floor(level * (reference.size + 1) + 1e-9) - 1
    if allowed_above < 0:
        highest = math.nextafter(float(np.max(reference)), math.inf)
        return max(highest, pareto_quantile(reference, level)), True
    last_kept = float(np.sort(reference)[reference.size - 1 - allowed_above])
    return math.nextafter(last_kept, math.inf), False


def pareto_quantile(reference: FloatArray, level: float) -> float:
    """The score that a share ``level`` exceeds, from a generalised Pareto fit to the upper tail.

    Fitted by probability-weighted moments (Hosking and Wallis, Technometrics 1987), which stay
    stable at ten to a hundred exceedances, where maximum likelihood may not converge. If the tail
    has no such fit (ties), the highest reference score is returned.
    """
    ordered = np.sort(reference)
    tail = min(max(LEAST_TAIL, round(TAIL_SHARE * ordered.size)), ordered.size - 1)
    start = float(ordered[-tail - 1])
    excess = ordered[-tail:] - start
    survival = (tail - np.arange(1, tail + 1) + 0.35) / tail
    first, second = float(np.mean(excess)), float(np.mean(survival * excess))
    if first <= 2 * second:
        return float(ordered[-1])
    shape = 2 - first / (first - 2 * second)
    scale = 2 * first * second / (first - 2 * second)
    ratio = tail / (ordered.size * level)
    beyond = math.log(ratio) if abs(shape) < 1e-9 else (ratio**shape - 1) / shape
    return start + scale * beyond
