from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm
from scipy.stats import t as student

from gradshield.threshold import decide, heavy_tailed
from gradshield.threshold.blocks import weighted_blocks
from gradshield.threshold.decision import Decision
from gradshield.threshold.heavy_tailed import posterior_crossing
from gradshield.threshold.heavy_tailed_fit import HeavyTailedFits, fit_heavy_tailed
from gradshield.threshold.spread import median_and_spread
from gradshield.threshold.two_piece_t import TwoPieceT


def quantiles(distribution: object, rows: int) -> np.ndarray:
    return distribution.ppf((np.arange(rows) + 0.5) / rows)  # type: ignore[attr-defined]


@settings(max_examples=20, deadline=None)
@given(
    left=st.floats(0.3, 3),
    right=st.floats(0.3, 3),
    freedom=st.floats(2.5, 50),
    level=st.floats(0.001, 0.999),
)
def test_quantile_is_the_integral_of_the_density(
    left: float, right: float, freedom: float, level: float
) -> None:
    density = TwoPieceT(0.0, left, right, freedom)

    def at(score: float) -> float:
        return float(np.exp(density.log_density(np.array([score])))[0])

    quantile = density.upper_quantile(level)
    between, _ = quad(at, min(quantile, 0.0), max(quantile, 0.0))
    above_mode, _ = quad(at, 0.0, np.inf)
    above = above_mode - between if quantile >= 0 else above_mode + between
    assert above == pytest.approx(level, abs=1e-6)
    assert above_mode == pytest.approx(right / (left + right), abs=1e-6)


def test_equal_scales_give_student_t() -> None:
    scores = np.array([-3.0, 0.5, 2.0, 9.0])
    density = TwoPieceT(2.0, 1.5, 1.5, 4.0).log_density(scores)
    assert density == pytest.approx(student.logpdf(scores, 4, loc=2, scale=1.5))


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 3000))
def test_blocks_keep_count_sum_and_order(rows: int) -> None:
    scores = np.random.default_rng(rows).normal(size=rows)
    values, weights = weighted_blocks(scores)
    assert weights.sum() == rows
    assert weights @ values == pytest.approx(scores.sum(), abs=1e-9)
    assert np.all(np.diff(values) >= 0)
    assert values.size <= 250
    assert (values[0], values[-1]) == (scores.min(), scores.max())


@pytest.mark.parametrize("rows", [240, 5000])
@pytest.mark.parametrize("distribution", [norm(), student(3)])
def test_one_group_is_not_split_and_loses_the_level(distribution: object, rows: int) -> None:
    scores = quantiles(distribution, rows)
    decision = decide(scores, rule="heavy_tailed", level=0.02)
    assert "no second group" in decision.reason
    assert np.mean(scores >= decision.threshold) == pytest.approx(0.02, abs=0.006)


def test_a_few_percent_far_above_a_heavy_tail_are_found() -> None:
    scores = np.r_[quantiles(student(3), 950), quantiles(norm(12, 1), 50)]
    decision = decide(scores, rule="heavy_tailed")
    removed = scores >= decision.threshold
    assert removed[950:].all()
    assert removed[:950].mean() < 0.02
    assert decision.diagnostics["upper_weight"] == pytest.approx(0.05, abs=0.02)


def skewed(rows: int) -> np.ndarray:
    """Rows at the quantiles of a skewed t with its mode at 20."""
    shape = TwoPieceT(20.0, 1.0, 3.0, 30.0)
    return np.array([shape.upper_quantile((row + 0.5) / rows) for row in range(rows)])


def test_the_single_fit_recovers_mode_and_scales() -> None:
    single = fit_heavy_tailed(skewed(1000)).single
    assert (single.mode, single.left, single.right) == pytest.approx((20, 1, 3), rel=0.05)


def test_the_mixture_recovers_both_components() -> None:
    fits = fit_heavy_tailed(np.r_[skewed(900), quantiles(student(8, 60, 2), 100)])
    assert fits.lower.mode == pytest.approx(20, abs=0.2)
    assert (fits.lower.left, fits.lower.right) == pytest.approx((1, 3), rel=0.2)
    assert (fits.upper.mode, fits.upper.left, fits.upper.right) == pytest.approx(
        (60, 2, 2), rel=0.1
    )
    assert fits.upper_weight == pytest.approx(0.1, abs=0.005)


def test_the_gain_is_that_of_the_log_likelihoods() -> None:
    # Few enough that each row counts by itself.
    scores = np.r_[skewed(180), quantiles(student(8, 60, 2), 20)]
    found = fit_heavy_tailed(scores)
    mixed = np.logaddexp(
        np.log(1 - found.upper_weight) + found.lower.log_density(scores),
        np.log(found.upper_weight) + found.upper.log_density(scores),
    )
    expected = mixed.sum() - found.single.log_density(scores).sum()
    assert found.gain == pytest.approx(expected, rel=1e-6)


def fits(weight: float, mode: float, gain: float = 99.0) -> HeavyTailedFits:
    """Groups at 0 and at `mode`, both one wide; one group alone would be 2 wide."""
    lower, upper = TwoPieceT(0.0, 1.0, 1.0, 8.0), TwoPieceT(mode, 1.0, 1.0, 8.0)
    return HeavyTailedFits(TwoPieceT(1.0, 2.0, 2.0, 8.0), lower, upper, weight, gain)


def test_log_odds_are_those_of_two_student_densities() -> None:
    scores = np.array([-2.0, 0.5, 3.0, 7.0])
    expected = (
        np.log(0.2 / 0.8) + student.logpdf(scores, 8, 4.0, 1.0) - student.logpdf(scores, 8, 0, 1)
    )
    assert fits(0.2, 4.0).log_odds(scores) == pytest.approx(expected)


@pytest.mark.parametrize("weight", [0.05, 0.2, 0.5])
def test_the_crossing_is_where_both_are_equally_probable(weight: float) -> None:
    def odds(score: float) -> float:
        return float(fits(weight, 6.0).log_odds(np.array([score]))[0])

    crossing = posterior_crossing(fits(weight, 6.0))
    assert 0 <= crossing - brentq(odds, 0.0, 6.0) <= 6 / 511


def decided(found: HeavyTailedFits, rows: int, monkeypatch: pytest.MonkeyPatch) -> Decision:
    """The decision on so many rows whose fits are these."""
    monkeypatch.setattr(heavy_tailed, "fit_heavy_tailed", lambda scores: found)
    return decide(np.arange(float(rows)), rule="heavy_tailed", level=0.02)


def valley(weight: float, mode: float) -> float:
    """By looking at a fine grid."""
    grid = np.linspace(0, mode, 10_001)
    density = (1 - weight) * student.pdf(grid, 8) + weight * student.pdf(grid, 8, mode)
    return float(density.min() / min(density[0], density[-1]))


def test_two_groups_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fits(0.2, 9.0)
    decision = decided(found, 20, monkeypatch)
    assert decision.threshold == posterior_crossing(found)
    assert decision.reason == (
        "2 components fitted (99 nats better than one); the upper one holds 20.0 % of the rows; "
        "the threshold lies between them."
    )
    assert decision.diagnostics["warnings"] == []
    assert decision.method == "heavy_tailed"


@pytest.mark.parametrize(
    ("found", "rows", "objections"),
    [
        (fits(0.2, 9.0), 19, ["19 rows are too few for two components"]),
        (fits(0.7, 9.0), 100, ["the upper one would hold 70 % of the rows"]),
        (
            fits(0.2, 9.0, gain=5.0),
            100,
            ["two components fit better by 5.0 nats, BIC asks 6.9"],
        ),
        (
            fits(0.35, 2.8),
            100,
            [f"no valley between them: it is {100 * valley(0.35, 2.8):.0f} % of the smaller peak"],
        ),
        (
            fits(0.6, 2.6),
            100,
            [f"no valley between them: it is {100 * valley(0.6, 2.6):.0f} % of the smaller peak"],
        ),
    ],
)
def test_why_there_are_no_two_groups_is_told(
    found: HeavyTailedFits, rows: int, objections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = decided(found, rows, monkeypatch)
    assert decision.threshold == found.single.upper_quantile(0.02)
    assert decision.diagnostics["warnings"] == objections
    assert decision.diagnostics["single"]["mode"] == 1.0
    assert decision.reason == (
        f"no second group ({objections[0]}); the threshold is what 2 % of one fitted skewed "
        "Student-t exceed."
    )
    assert decision.method == "heavy_tailed"


def test_the_threshold_is_not_below_the_quantile_of_the_lower_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = fits(0.5, 5.0)
    assert posterior_crossing(found) == pytest.approx(2.5, abs=0.02)
    expected = float(student.isf(0.02, 8))
    assert expected > 2.4
    narrow = fits(0.6, 4.5)
    assert decided(narrow, 100, monkeypatch).threshold == pytest.approx(
        max(expected, posterior_crossing(narrow))
    )
    assert expected > posterior_crossing(narrow)


def test_centre_and_spread_by_hand() -> None:
    assert median_and_spread(np.array([1.0, 2, 3, 4, 100])) == pytest.approx((3, 1.4826))
    assert median_and_spread(np.array([0.01, 0.02, 0.03]))[1] == pytest.approx(0.014826)
    # More than half are equal: 0 would be no unit, so it is the standard deviation.
    assert median_and_spread(np.array([0.0] * 7 + [10.0] * 3)) == pytest.approx((0, 21**0.5))


def test_the_blocks_of_a_large_sample_are_its_neighbours() -> None:
    scores = np.arange(1000.0)[::-1]
    values, weights = weighted_blocks(scores)
    assert values[:50].tolist() == list(range(50))
    assert values[-50:].tolist() == list(range(950, 1000))
    assert weights[:50].tolist() == weights[-50:].tolist() == [1.0] * 50
    assert set(weights[50:-50]) == {6.0}
    assert values[50:-50].tolist() == [50 + 6 * block + 2.5 for block in range(150)]
    few = np.array([3.0, 1.0, 2.0])
    assert [part.tolist() for part in weighted_blocks(few)] == [[1, 2, 3], [1, 1, 1]]
    assert weighted_blocks(np.arange(250.0))[1].tolist() == [1.0] * 250
