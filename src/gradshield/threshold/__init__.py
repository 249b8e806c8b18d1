"""Choose a threshold on FIHS scores from the scores alone.

``decide`` checks its arguments once and hands them to a rule of ``RULES``. A new rule is one file
and one line there.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gradshield.threshold.adaptive import AdaptiveRule
from gradshield.threshold.calibrated import CalibratedRule
from gradshield.threshold.calibrated_fdr import CalibratedFdrRule
from gradshield.threshold.decision import Decision
from gradshield.threshold.heavy_tailed import HeavyTailedRule
from gradshield.threshold.mixture import MixtureRule
from gradshield.threshold.one_task import OneTaskRule
from gradshield.threshold.paper import PaperRule
from gradshield.threshold.rule import FloatArray, ThresholdRule

__all__ = ["DEFAULT_RULE", "RULES", "Decision", "ThresholdRule", "decide"]

_ALL: tuple[ThresholdRule, ...] = (
    PaperRule(),
    MixtureRule(),
    HeavyTailedRule(),
    CalibratedRule(),
    CalibratedFdrRule(),
    AdaptiveRule(),
    OneTaskRule(),
)
RULES: dict[str, ThresholdRule] = {rule.name: rule for rule in _ALL}
DEFAULT_RULE = "adaptive"


def decide(
    scores: npt.ArrayLike,
    reference: npt.ArrayLike | None = None,
    *,
    rule: str = DEFAULT_RULE,
    level: float = 0.02,
    seed: int = 0,
) -> Decision:
    """Decide on a threshold for FIHS scores.

    Args:
        scores: FIHS of the scored rows, shape (rows,); positive means harmful.
        reference: FIHS of rows known to be harmless, shape (reference rows,), scored with the same
            model and direction; None if there are none.
        rule: A name of ``RULES``.
        level: Tolerated share of harmless rows lost, strictly between 0 and 1.
        seed: Seed of the rule's random starts.

    Returns:
        The decision. Rows at or above its threshold are to be removed; fewer than two rows, or
        rows that all score the same, give an infinite threshold.

    Raises:
        ValueError: Unknown rule, level out of range, an array that is not one-dimensional, an
            empty reference, a non-finite score, or a reference that the rule needs and lacks.
    """
    if rule not in RULES:
        raise ValueError(f"unknown threshold rule '{rule}'; known are {', '.join(RULES)}.")
    if not 0 < level < 1:
        raise ValueError(
            f"level is the tolerated share of harmless rows lost, 0 to 1; got {level}."
        )
    checked = _checked(scores, "scores")
    checked_reference = None if reference is None else _checked(reference, "reference")
    if checked_reference is not None and checked_reference.size == 0:
        raise ValueError("the reference holds no rows: pass None, or scores of harmless rows.")
    if checked.size < 2 or np.ptp(checked) == 0:
        what = f"{checked.size} scored row(s)" if checked.size < 2 else "all scores are equal"
        reason = f"{what}: there is nothing to tell apart, so no row is removed."
        return Decision(math.inf, rule, reason, {"warnings": [reason]})
    return RULES[rule](checked, checked_reference, level=level, seed=seed)


def _checked(values: npt.ArrayLike, what: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{what} must be one-dimensional, got shape {array.shape}.")
    if (bad := np.flatnonzero(~np.isfinite(array))).size:
        raise ValueError(
            f"{bad.size} of {array.size} {what} are not finite (first: position {bad[0]}). Such "
            "rows must have been rejected before a threshold is chosen: a NaN compares as neither "
            "above nor below it."
        )
    return array
