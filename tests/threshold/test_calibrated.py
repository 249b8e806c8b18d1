from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradshield.threshold import decide
from gradshield.threshold.calibrated import conformal_p_values, null_quantile, pareto_quantile

small_integers = st.integers(-6, 6).map(float)  # many ties
references = st.lists(small_integers, min_size=20, max_size=60)
score_lists = st.lists(small_integers, min_size=2, max_size=30)


def brute_force(scores: list[float], reference: list[float]) -> list[float]:
    return [(1 + sum(r >= s for r in reference)) / (len(reference) + 1) for s in scores]


@settings(deadline=None)
@given(scores=score_lists, reference=references)
def test_p_values_by_counting(scores: list[float], reference: list[float]) -> None:
    p_values = conformal_p_values(np.array(scores), np.array(reference))
    assert p_values.tolist() == pytest.approx(brute_force(scores, reference))


@settings(deadline=None)
@given(scores=score_lists, reference=references, level=st.floats(0.05, 0.6))
def test_removed_means_a_small_p_value(
    scores: list[float], reference: list[float], level: float
) -> None:
    threshold, extrapolated = null_quantile(np.array(reference), level)
    assert not extrapolated
    for score, p_value in zip(scores, brute_force(scores, reference), strict=True):
        assert (score >= threshold) == (p_value <= level)


def test_rank_by_hand() -> None:
    # 99 rows 1..99, level 0.05: p <= 0.05 means at most 4 at or above, so above 95
    reference = np.arange(1.0, 100.0)
    assert null_quantile(reference, 0.05)[0] == math.nextafter(95.0, math.inf)


def test_expected_loss_is_at_most_the_level() -> None:
    generator = np.random.default_rng(0)
    lost = [
        np.mean(scores >= decide(scores, reference, rule="calibrated", level=0.1).threshold)
        for scores, reference in (
            (generator.standard_t(3, 400), generator.standard_t(3, 59)) for _ in range(300)
        )
    ]
    # sd of one loss about 0.04, of the mean 0.0025
    assert 0.09 < np.mean(lost) < 0.1 + 3 * 0.0025


def test_small_reference_is_extrapolated_with_a_warning() -> None:
    reference = np.random.default_rng(0).normal(size=30)
    decision = decide([0.0, 9.0], reference, rule="calibrated", level=0.01)
    assert reference.max() < decision.threshold < 9
    assert "at least 99 needed" in decision.diagnostics["warnings"][0]
    tied = null_quantile(np.zeros(30), 0.01)
    assert tied == (math.nextafter(0.0, math.inf), True)


def test_pareto_quantile_of_an_exponential_tail() -> None:
    # quantiles of the unit exponential; a share of 0.001 lies above ln 1000
    reference = -np.log1p(-(np.arange(2000) + 0.5) / 2000)
    assert pareto_quantile(reference, 1e-3) == pytest.approx(math.log(1000), rel=0.03)


@settings(max_examples=60, deadline=None)
@given(scores=score_lists, reference=references, level=st.floats(0.1, 0.6))
def test_false_discovery_rate_rule_is_benjamini_hochberg(
    scores: list[float], reference: list[float], level: float
) -> None:
    scores[0] = 7.0  # not all equal
    p_values = sorted(brute_force(scores, reference))
    passing = [
        rank for rank, p in enumerate(p_values, 1) if p <= level * rank / len(scores) + 1e-12
    ]
    limit = p_values[passing[-1] - 1] if passing else -1.0
    threshold = decide(scores, reference, rule="calibrated_fdr", level=level).threshold
    if np.ptp(scores) > 0:
        for score, p_value in zip(scores, brute_force(scores, reference), strict=True):
            # rows that tie in p with a removed row but score lower may stay
            assert (score < threshold) or p_value <= limit
        assert sum(s >= threshold for s in scores) >= (passing[-1] if passing else 0)
