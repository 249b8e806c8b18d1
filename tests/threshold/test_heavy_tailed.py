from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from scipy.stats import t as student

from gradshield.threshold import decide
from gradshield.threshold.blocks import weighted_blocks
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
