"""The calibrated null with control of the false discovery rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradshield.threshold.calibrated import conformal_p_values, require_reference
from gradshield.threshold.decision import Decision
from gradshield.threshold.rule import FloatArray


@dataclass(frozen=True)
class CalibratedFdrRule:
    """Benjamini-Hochberg on conformal p-values (Bates et al., Annals of Statistics 2023).

    Here ``level`` is the tolerated share of harmless rows *among the removed ones*. The smallest
    possible p-value is 1 / (reference rows + 1), so a share of harmful rows below about
    1 / (level * reference rows) cannot be found at all.

    Raises:
        ValueError: No reference, or one of fewer than 20 rows.
    """

    name: str = "calibrated_fdr"

    def __call__(
        self, scores: FloatArray, reference: FloatArray | None, *, level: float, seed: int
    ) -> Decision:
        """Apply the rule; see `ThresholdRule`."""
        reference = require_reference(reference, self.name)
        descending = np.sort(scores)[::-1]
        p_values = conformal_p_values(descending, reference)
        allowed = level * np.arange(1, scores.size + 1) / scores.size
        passing = np.flatnonzero(p_values <= allowed * (1 + 1e-12))
        removed = int(passing[-1]) + 1 if passing.size else 0
        threshold = float(descending[removed - 1]) if removed else math.inf
        reason = (
            f"{removed} of {scores.size} rows removed with a false discovery rate of at most "
            f"{100 * level:g} % against {reference.size} harmless reference rows."
        )
        diagnostics = {
            "reference_rows": reference.size,
            "smallest_p_value": float(p_values[0]),
            "smallest_possible_p_value": 1 / (reference.size + 1),
        }
        return Decision(threshold, self.name, reason, diagnostics)
