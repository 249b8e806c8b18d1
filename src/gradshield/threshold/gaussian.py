"""One Gaussian, and a mixture of two, fitted to scores."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from gradshield.threshold.rule import FloatArray


@dataclass(frozen=True)
class Component:
    """A weighted Gaussian; mean and sd in the unit of the scores."""

    weight: float
    mean: float
    sd: float


@dataclass(frozen=True)
class GaussianFits:
    """The two competing fits.

    Attributes:
        single: The one Gaussian.
        lower: The mixture component with the lower mean.
        upper: The mixture component with the higher mean.
        gain: Log-likelihood of the mixture minus that of the single Gaussian, in nats.
        in_upper: Shape (rows,); True where the upper component is the more probable one.
    """

    single: Component
    lower: Component
    upper: Component
    gain: float
    in_upper: npt.NDArray[np.bool_]

    def as_diagnostics(self) -> dict[str, Any]:
        """Parameters and gain as JSON-serialisable values."""
        return {
            "single": asdict(self.single),
            "lower": asdict(self.lower),
            "upper": asdict(self.upper),
            "log_likelihood_gain": self.gain,
        }


def fit_gaussians(scores: FloatArray, seed: int) -> GaussianFits:
    """Fit both by maximum likelihood (the mixture by EM from five starts).

    The fit runs on standardised scores, so that the small constant that scikit-learn adds to
    every variance means the same whatever the unit of the scores is.
    """
    mean, sd = float(np.mean(scores)), float(np.std(scores))
    standardised = ((scores - mean) / sd).reshape(-1, 1)
    mixture = GaussianMixture(n_components=2, n_init=5, random_state=seed).fit(standardised)
    order = np.argsort(mixture.means_[:, 0])
    lower, upper = (
        Component(
            weight=float(mixture.weights_[index]),
            mean=mean + sd * float(mixture.means_[index, 0]),
            sd=sd * math.sqrt(float(mixture.covariances_[index, 0, 0])),
        )
        for index in order
    )
    return GaussianFits(
        single=Component(1.0, mean, sd),
        lower=lower,
        upper=upper,
        gain=float(np.sum(mixture.score_samples(standardised)) - np.sum(norm.logpdf(standardised))),
        in_upper=mixture.predict(standardised) == order[1],
    )
