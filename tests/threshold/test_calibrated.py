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


def test_what_a_calibrated_decision_says() -> None:
    # Of 0 to 98, 5 at most of 100 ranks may be as high: above 94.
    reference = np.arange(99.0)
    scores = [10.0, 20.0, math.nextafter(94.0, math.inf), 98.0]
    decision = decide(scores, reference, rule="calibrated", level=0.05)
    assert decision.reason == (
        "50.0 % of the rows score above all but the top 5 % of 99 harmless reference rows."
    )
    assert decision.diagnostics == {"reference_rows": 99, "level": 0.05, "warnings": []}


def test_what_a_false_discovery_decision_says() -> None:
    # p-values 1/21 and 20/21; the first is allowed 2/21 * 1/2, which it just meets.
    decision = decide([100.0, 0.5], np.arange(20.0), rule="calibrated_fdr", level=2 / 21)
    assert decision.threshold == 100
    assert decision.reason == (
        "1 of 2 rows removed with a false discovery rate of at most 9.52381 % against 20 harmless "
        "reference rows."
    )
    assert decision.diagnostics == {
        "reference_rows": 20,
        "smallest_p_value": pytest.approx(1 / 21),
        "smallest_possible_p_value": pytest.approx(1 / 21),
    }
    # A row that some of the reference exceed.
    high = decide([9.5, 0.5], np.arange(20.0), rule="calibrated_fdr").diagnostics
    assert high["smallest_p_value"] == pytest.approx(11 / 21)


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


def textbook_pareto_quantile(reference: list[float], level: float) -> float:
    """Hosking and Wallis, Technometrics 1987, section 2: k = a0 / (a0 - 2 a1) - 2."""
    descending = sorted(reference, reverse=True)
    tail = min(max(10, round(0.2 * len(reference))), len(reference) - 1)
    start = descending[tail]
    excesses = [value - start for value in reversed(descending[:tail])]
    a0 = a1 = 0.0
    for rank, excess in enumerate(excesses, start=1):
        a0 += excess / tail
        a1 += (1 - (rank - 0.35) / tail) * excess / tail
    k = a0 / (a0 - 2 * a1) - 2
    alpha = 2 * a0 * a1 / (a0 - 2 * a1)
    above = level * len(reference) / tail
    return start + alpha * (1 - above**k) / k


@pytest.mark.parametrize("rows", [6, 30, 200])
@pytest.mark.parametrize("level", [1e-4, 1e-2])
@pytest.mark.parametrize("draw", ["standard_normal", "random", "standard_cauchy"])
def test_pareto_quantile_by_the_textbook(rows: int, level: float, draw: str) -> None:
    reference = getattr(np.random.default_rng(rows), draw)(rows)
    expected = textbook_pareto_quantile(reference.tolist(), level)
    assert pareto_quantile(reference, level) == pytest.approx(expected, rel=1e-9)


def test_pareto_quantile_of_a_tail_that_is_almost_a_step() -> None:
    reference = np.r_[np.linspace(-1, 0, 40), 1 + np.linspace(0, 1e-3, 10)]
    expected = textbook_pareto_quantile(reference.tolist(), 0.01)
    assert pareto_quantile(reference, 0.01) == pytest.approx(expected, rel=1e-9)


def test_a_tail_of_equal_scores_ends_where_it_begins() -> None:
    assert pareto_quantile(np.r_[np.arange(-30.0, -10.0), np.zeros(30)], 1e-3) == 0.0


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
