from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.stats import norm

from gradshield.threshold import decide
from gradshield.threshold.aligned_null import fit_aligned_null
from gradshield.threshold.null_density import estimate_null


def normal_rows(mean: float, sd: float, rows: int) -> np.ndarray:
    return norm.ppf((np.arange(rows) + 0.5) / rows, mean, sd)


REFERENCE = normal_rows(0, 1, 300)


def test_null_density_integrates_to_one_and_resembles_the_reference() -> None:
    null = estimate_null(REFERENCE)
    grid = np.linspace(-60, 60, 24_001)
    assert trapezoid(np.exp(null.log_density(grid, 0.0, 1.0)), grid) == pytest.approx(1, abs=2e-3)
    assert np.exp(null.log_density(np.zeros(1), 0.0, 1.0)) == pytest.approx(0.399, abs=0.02)


def test_null_density_moves_and_stretches() -> None:
    null = estimate_null(REFERENCE)
    scores = np.array([-20.0, -1.0, 0.3, 2.0, 40.0])
    expected = null.log_density((scores - 0.7) / 1.3, 0.0, 1.0) - math.log(1.3)
    assert null.log_density(scores, 0.7, 1.3) == pytest.approx(expected)


@pytest.mark.parametrize(("mean", "sd"), [(0, 1), (0.5, 1), (-0.5, 1), (0, 1.4), (-1, 0.5)])
@pytest.mark.parametrize("rows", [240, 5000])
def test_harmless_rows_unlike_the_reference_still_lose_the_level(
    mean: float, sd: float, rows: int
) -> None:
    scores = normal_rows(mean, sd, rows)
    decision = decide(scores, REFERENCE)
    assert np.mean(scores >= decision.threshold) <= 0.03
    assert decision.diagnostics["upper"] is None


def test_the_fit_recovers_shift_scale_and_group() -> None:
    scores = np.r_[normal_rows(0.5, 1.2, 1400), normal_rows(8, 1, 600)]
    fit = fit_aligned_null(scores, estimate_null(REFERENCE))
    assert fit.upper is not None
    assert fit.shift == pytest.approx(0.5, abs=0.1)
    assert fit.scale == pytest.approx(1.2, abs=0.1)
    assert fit.upper.mode == pytest.approx(8, abs=0.2)
    assert fit.upper_weight == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_separate_harmful_rows_are_found_at_any_share(share: float) -> None:
    harmful = round(1000 * share)
    scores = np.r_[normal_rows(0.3, 1, 1000 - harmful), normal_rows(7, 1, harmful)]
    removed = scores >= decide(scores, REFERENCE).threshold
    assert removed[-harmful:].mean() >= 0.99
    assert removed[:-harmful].mean() <= 0.025


def test_a_clear_gap_spares_the_harmless_tail() -> None:
    scores = np.r_[normal_rows(0, 1, 900), normal_rows(12, 1, 100)]
    decision = decide(scores, REFERENCE)
    assert np.sum(scores >= decision.threshold) == pytest.approx(100, abs=2)
    assert "a group above" in decision.reason


def test_an_overlapping_group_is_cut_where_rows_are_more_likely_harmful_than_not() -> None:
    scores = np.r_[normal_rows(0, 1, 1400), normal_rows(3, 1, 600)]
    decision = decide(scores, REFERENCE)
    # 0.7 N(x; 0, 1) = 0.3 N(x; 3, 1) at x = (4.5 + log(7 / 3)) / 3.
    assert decision.threshold == pytest.approx(1.78, abs=0.15)
    assert decision.threshold < decide(scores, REFERENCE, rule="calibrated").threshold


def test_harmful_rows_alone_do_not_pass_as_shifted_harmless_ones() -> None:
    scores = normal_rows(6, 1, 300)
    decision = decide(scores, REFERENCE)
    assert np.mean(scores >= decision.threshold) > 0.95
    assert any("look harmful" in warning for warning in decision.diagnostics["warnings"])


@pytest.mark.parametrize("reference", [None, [1.0] * 50, REFERENCE[:19]])
def test_without_a_usable_reference_the_scores_decide_alone(reference: object) -> None:
    scores = np.r_[normal_rows(0, 1, 80), normal_rows(9, 1, 20)]
    decision = decide(scores, reference)  # type: ignore[arg-type]
    assert decision.threshold == decide(scores, rule="heavy_tailed").threshold
    assert "no usable reference" in decision.reason


@pytest.mark.parametrize("rows", [240, 2000])
def test_a_group_that_only_the_reference_has_costs_no_harmless_rows(rows: int) -> None:
    reference = np.r_[normal_rows(-5, 0.5, 30), normal_rows(0, 1, 270)]
    scores = normal_rows(0, 1, rows)
    assert np.mean(scores >= decide(scores, reference).threshold) <= 0.03


@settings(max_examples=15, deadline=None)
@given(
    shift=st.floats(-3, 3),
    sd=st.floats(0.2, 3),
    share=st.sampled_from([0.0, 0.1, 0.6]),
    level=st.sampled_from([0.005, 0.02, 0.1]),
)
def test_threshold_is_never_below_the_calibrated_one_of_five_times_the_level(
    shift: float, sd: float, share: float, level: float
) -> None:
    harmful = round(200 * share)
    scores = np.r_[normal_rows(shift, sd, 200 - harmful), normal_rows(4, 2, max(harmful, 1))]
    most_lost = min(5 * level, 0.5)
    calibrated = decide(scores, REFERENCE, rule="calibrated", level=most_lost).threshold
    adaptive = decide(scores, REFERENCE, level=level).threshold
    assert adaptive >= calibrated - 1e-9
