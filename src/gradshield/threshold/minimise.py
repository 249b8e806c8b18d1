"""Bounded minimisation of a negative log-likelihood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from gradshield.threshold.rule import FloatArray

# Relative to a loss of up to some 10,000 nats; evidence is judged in whole nats.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Minimum:
    """Where the minimum was found, shape (parameters,), and the loss there, in nats."""

    parameters: FloatArray
    loss: float


def minimise(
    loss: Callable[[FloatArray], float], start: FloatArray, bounds: Sequence[tuple[float, float]]
) -> Minimum:
    """Quasi-Newton (L-BFGS-B) from one start, with numerical gradients."""
    fit = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"ftol": TOLERANCE})
    return Minimum(np.asarray(fit.x, dtype=np.float64), float(fit.fun))
