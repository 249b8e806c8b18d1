from __future__ import annotations

import math

import numpy as np
import pytest

from gradshield.threshold import decide, paper
from gradshield.threshold.gaussian import Component, GaussianFits, fit_gaussians

GRID = np.linspace(-1, 1, 21)


def log_likelihoods(scores: np.ndarray) -> tuple[float, float]:
    """One Gaussian in closed form; two by a plain EM started from the split at the midrange."""

    def density(mean: float, variance: float) -> np.ndarray:
        return np.exp(-((scores - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)

    one = -0.5 * scores.size * (math.log(2 * math.pi * scores.var()) + 1)
    upper = (scores > (scores.min() + scores.max()) / 2).astype(float)
    for _ in range(500):
        parts = []
        for share in (1 - upper, upper):
            mean = share @ scores / share.sum()
            variance = share @ (scores - mean) ** 2 / share.sum()
            parts.append(share.mean() * density(mean, variance))
        upper = parts[1] / (parts[0] + parts[1])
    return one, float(np.sum(np.log(parts[0] + parts[1])))


def test_single_gaussian_gives_mean_plus_two_sd() -> None:
    # 1..9: mean 5, variance 60 / 9
    decision = decide(np.arange(1.0, 10.0), rule="paper")
    assert decision.threshold == pytest.approx(5 + 2 * math.sqrt(60 / 9))


def test_two_groups_give_the_highest_row_of_the_lower_one() -> None:
    scores = np.r_[GRID, GRID + 10]
    decision = decide(scores, rule="paper")
    assert decision.threshold == 1.0
    # strictly below is kept: the boundary row goes with the upper group
    assert np.sum(scores >= decision.threshold) == 22


def test_wide_lower_component_gives_the_highest_row_of_the_upper_one() -> None:
    # lower: mean 0 with single rows out to 30; upper: a clump at 5
    scores = np.r_[np.linspace(-30, 30, 41), 5 + GRID / 20]
    fits = fit_gaussians(scores, 0)
    assert fits.lower.sd > fits.upper.sd
    assert decide(scores, rule="paper").threshold == pytest.approx(scores[fits.in_upper].max())
    assert decide(scores, rule="paper").threshold < 30


def test_fringe_far_below_removes_everything_above_it() -> None:
    scores = np.r_[GRID[:5] - 9, GRID * 2]
    assert decide(scores, rule="paper").threshold == GRID[4] - 9


def test_what_a_decision_between_two_groups_says() -> None:
    scores = np.r_[GRID, GRID + 10, GRID + 10.01, GRID + 10.02]
    gain = fit_gaussians(scores, 0).gain
    assert decide(scores, rule="paper").reason == (
        f"two Gaussians fit better than one by {gain:.1f} nats; the upper one holds 75 % of the "
        "rows; the threshold is the highest score of the lower group."
    )
    wide = np.r_[np.linspace(-30, 30, 41), 5 + GRID / 20]
    assert "is the highest score of the upper group." in decide(wide, rule="paper").reason


SCORES = np.arange(30.0)
SOME = SCORES > 20


@pytest.mark.parametrize(
    ("gain", "in_upper", "reason"),
    [
        (20.0, SCORES < 0, "every row was assigned to one component, so the threshold is"),
        (20.0, SCORES >= 0, "every row was assigned to one component, so the threshold is"),
        (10.0, SOME, "a mixture of two fits better than one Gaussian by only 10.0 nats (needed: "),
    ],
)
def test_without_two_groups_the_single_gaussian_decides(
    gain: float, in_upper: np.ndarray, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Component(1.0, 14.5, 8.0)
    fits = GaussianFits(one, one, one, gain, in_upper)
    monkeypatch.setattr(paper, "fit_gaussians", lambda scores, seed: fits)
    decision = decide(SCORES, rule="paper")
    assert decision.threshold == 14.5 + 2 * 8
    assert decision.reason.startswith(reason)
    assert decision.reason.endswith("the threshold is mean + 2 sd.")


@pytest.mark.parametrize("distance", [4.0, 6.0])
def test_log_likelihood_gain_agrees_with_an_own_em(distance: float) -> None:
    generator = np.random.default_rng(5)
    scores = np.r_[generator.normal(0, 1, 90), generator.normal(distance, 0.7, 40)]
    one, two = log_likelihoods(scores)
    assert fit_gaussians(scores, 0).gain == pytest.approx(two - one, abs=0.05)
