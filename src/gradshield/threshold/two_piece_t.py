"""Student's t with a scale of its own on either side of the mode: skewed and heavy-tailed.

Density 2 / (left + right) * t((x - mode) / left or right), with t the Student density
(Fernandez and Steel, JASA 1998; written here with two scales).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from gradshield.threshold.rule import FloatArray


@dataclass(frozen=True)
class TwoPieceT:
    """Mode, the two scales (in the unit of the scores), and the degrees of freedom."""

    mode: float
    left: float
    right: float
    freedom: float

    def log_density(self, scores: FloatArray) -> FloatArray:
        """Natural log of the density at each score, shape (rows,)."""
        distance = scores - self.mode
        inverse = np.where(distance < 0, 1 / self.left, 1 / self.right)
        constant = (
            math.log(2 / (self.left + self.right))
            + math.lgamma((self.freedom + 1) / 2)
            - math.lgamma(self.freedom / 2)
            - 0.5 * math.log(self.freedom * math.pi)
        )
        tail = (self.freedom + 1) / 2 * np.log1p((distance * inverse) ** 2 / self.freedom)
        return np.asarray(constant - tail, dtype=np.float64)

    def upper_quantile(self, level: float) -> float:
        """The score that a share ``level`` of the distribution exceeds."""
        share_above_mode = self.right / (self.left + self.right)
        if level <= share_above_mode:
            return self.mode + self.right * float(
                student.isf(level / share_above_mode / 2, self.freedom)
            )
        share_below = 1 - share_above_mode
        return self.mode - self.left * float(
            student.isf((1 - level) / share_below / 2, self.freedom)
        )
