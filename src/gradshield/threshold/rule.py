"""What every threshold rule looks like."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from gradshield.threshold.decision import Decision

FloatArray: TypeAlias = npt.NDArray[np.float64]


class ThresholdRule(Protocol):
    """Picks a threshold from scores, and from scores of harmless reference rows if it needs them.

    ``gradshield.threshold.decide`` checks the arguments once, so a rule may rely on: scores are
    finite, at least two and not all equal; the reference is None or finite and not empty; level
    lies strictly between 0 and 1.
    """

    @property
    def name(self) -> str:
        """Name of the rule in the registry."""

    def __call__(
        self, scores: FloatArray, reference: FloatArray | None, *, level: float, seed: int
    ) -> Decision:
        """Decide on a threshold.

        Args:
            scores: FIHS of the rows to filter, shape (rows,); positive means harmful.
            reference: FIHS of rows known to be harmless, shape (reference rows,), or None.
            level: Tolerated share of harmless rows lost.
            seed: Seed of any random start.

        Returns:
            The decision; rows with a score at or above its threshold are to be removed.
        """
