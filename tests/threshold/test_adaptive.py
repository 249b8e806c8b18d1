from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.optimize import brentq, minimize
from scipy.stats import norm
from scipy.stats import t as student

from gradshield.threshold import Decision, adaptive, decide
from gradshield.threshold.adaptive import AdaptiveRule
from gradshield.threshold.aligned_null import AlignedFit, fit_aligned_null
from gradshield.threshold.null_density import NullDensity, estimate_null
from gradshield.threshold.two_piece_t import TwoPieceT


def normal_rows(mean: float, sd: float, rows: int) -> np.ndarray:
    return norm.ppf((np.arange(rows) + 0.5) / rows, mean, sd)


REFERENCE = normal_rows(0, 1, 300)


def test_null_density_integrates_to_one_and_resembles_the_reference() -> None:
    null = estimate_null(REFERENCE)
    grid = np.linspace(-60, 60, 24_001)
    assert trapezoid(np.exp(null.log_density(grid, 0.0, 1.0)), grid) == pytest.approx(1, abs=2e-3)
    assert np.exp(null.log_density(np.zeros(1), 0.0, 1.0)) == pytest.approx(0.399, abs=0.02)


def test_null_density_by_the_formula() -> None:
    reference = np.random.default_rng(0).gamma(2, 1.5, 80)
    centre = np.median(reference)
    spread = 1.4826 * np.median(np.abs(reference - centre))
    standardised = (reference - centre) / spread
    bandwidth = 0.9 * 80**-0.2
    narrowing = math.sqrt(1 + bandwidth**2)
    at = np.array([-1.5, 0.0, 0.7, 3.0])  # points of the grid
    kernel = [narrowing * norm.pdf(narrowing * x, standardised, bandwidth).mean() for x in at]
    floor = student.pdf(at / 2, 3) / 2
    null = estimate_null(reference)
    expected = np.log(0.98 * np.array(kernel) + 0.02 * floor)
    assert null.log_density(at, 0.0, 1.0) == pytest.approx(expected, rel=1e-9)
    assert (null.rows, null.centre, null.spread) == (80, centre, pytest.approx(spread))
    assert null.edge == np.quantile(standardised, 0.98)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_beyond_the_grid_the_density_falls_with_the_fourth_power(side: float) -> None:
    null = estimate_null(REFERENCE)
    end, double = null.log_density(side * np.array([12.0, 24.0]), 0.0, 1.0)
    assert double == pytest.approx(end - 4 * math.log(2))


def test_null_density_moves_and_stretches() -> None:
    null = estimate_null(REFERENCE)
    scores = np.array([-20.0, -1.0, 0.3, 2.0, 40.0])
    expected = null.log_density((scores - 0.7) / 1.3, 0.0, 1.0) - math.log(1.3)
    assert null.log_density(scores, 0.7, 1.3) == pytest.approx(expected)


def test_the_share_below_is_the_integral_of_the_density() -> None:
    null = estimate_null(np.random.default_rng(1).gamma(2, 1.5, 80))
    grid = np.linspace(-30, 30, 120_001)
    density = np.exp(null.log_density(grid, 0.4, 1.3))
    at = np.array([-40.0, -1.0, 0.4, 2.0, 5.0, 40.0])
    expected = [trapezoid(density[grid <= one], grid[grid <= one]) for one in at]
    assert null.share_below(at, 0.4, 1.3) == pytest.approx(expected, abs=2e-3)


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


def penalised_loss(
    scores: np.ndarray, null: NullDensity, shift: float, scale: float, fit: AlignedFit | None
) -> float:
    """Negative log posterior, written out; with the group of `fit` or without one."""
    values = null.standardise(scores)
    each = scores.size * null.rows / (scores.size + null.rows) / scores.size
    density = np.exp(null.log_density(values, shift, scale))
    if fit is not None and fit.upper is not None:
        density = (1 - fit.upper_weight) * density
        density = density + fit.upper_weight * np.exp(fit.upper.log_density(values))
    prior = (shift / 0.5) ** 2 / 2 + (math.log(scale) / 0.25) ** 2 / 2
    return float(prior - each * np.log(density).sum())


@pytest.mark.parametrize(("mean", "sd"), [(0.6, 1.4), (-1.5, 0.6), (0.1, 1.0)])
def test_without_a_group_the_fit_is_the_most_probable_one(mean: float, sd: float) -> None:
    scores, null = normal_rows(mean, sd, 60), estimate_null(normal_rows(0, 1, 40))
    best = minimize(
        lambda at: penalised_loss(scores, null, at[0], math.exp(at[1]), None),
        [0.0, 0.0],
        method="Nelder-Mead",
    )
    fit = fit_aligned_null(scores, null)
    assert (fit.upper, fit.upper_weight) == (None, 0.0)
    assert (fit.shift, math.log(fit.scale)) == pytest.approx(tuple(best.x), abs=5e-3)
    assert -0.5 < fit.gain < 1.5 * math.log(24)


@pytest.mark.parametrize(("mean", "weight"), [(4.5, 8), (8.0, 60), (1.6, 120)])
def test_the_gain_is_that_of_the_fitted_group(mean: float, weight: int) -> None:
    scores = np.r_[normal_rows(0, 1, 300 - weight), normal_rows(mean, 0.5, weight)]
    null = estimate_null(REFERENCE)
    alone = minimize(
        lambda at: penalised_loss(scores, null, at[0], math.exp(at[1]), None),
        [0.0, 0.0],
        method="L-BFGS-B",
        bounds=[(-4, 1), (math.log(0.3), math.log(1.6))],
    )
    fit = fit_aligned_null(scores, null)
    assert fit.upper is not None
    with_group = penalised_loss(scores, null, fit.shift, fit.scale, fit)
    assert fit.gain == pytest.approx(alone.fun - with_group, abs=0.05)
    assert fit.upper.mode >= fit.shift + fit.scale * null.edge


def test_a_group_has_to_win_by_more_than_its_parameters() -> None:
    """BIC: 1.5 log of 150 rows, as 300 of the data and 300 of the reference count: 7.5 nats."""
    null = estimate_null(REFERENCE)
    found = [
        fit_aligned_null(np.r_[normal_rows(0, 1, 300 - rows), normal_rows(4.5, 0.5, rows)], null)
        for rows in (5, 8)
    ]
    assert [fit.upper is None for fit in found] == [True, False]
    assert 3 < found[0].gain < 7.5 < found[1].gain < 12


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


def decided(fit: AlignedFit, monkeypatch: pytest.MonkeyPatch, level: float = 0.02) -> Decision:
    """The decision against a reference around 5, 2 wide, on scores whose fit is this one."""
    monkeypatch.setattr(adaptive, "fit_aligned_null", lambda scores, null: fit)
    return decide(np.arange(50.0), 5 + 2 * REFERENCE, level=level)


def alone(shift: float = 0.0, scale: float = 1.0) -> AlignedFit:
    return AlignedFit(shift, scale, None, 0.0, 0.0)


def with_group(mode: float, weight: float) -> AlignedFit:
    return AlignedFit(0.1, 1.2, TwoPieceT(mode, 1.0, 1.0, 8.0), weight, 50.0)


def where_harmful(probability: float, fit: AlignedFit) -> float:
    """Score with that posterior, by root finding between the null's centre and the group."""
    null = estimate_null(5 + 2 * REFERENCE)
    assert fit.upper is not None
    upper = fit.upper

    def surplus(standardised: float) -> float:
        at = np.array([standardised])
        harmful = fit.upper_weight * np.exp(upper.log_density(at))
        harmless = (1 - fit.upper_weight) * np.exp(null.log_density(at, fit.shift, fit.scale))
        return float((harmful / (harmful + harmless))[0]) - probability

    return null.centre + null.spread * float(brentq(surplus, 0.5, upper.mode))


def test_without_a_group_the_moved_quantile_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    null = estimate_null(5 + 2 * REFERENCE)
    calibrated = decide(np.arange(50.0), 5 + 2 * REFERENCE, rule="calibrated").threshold
    at_rest = decided(alone(), monkeypatch)
    assert at_rest.threshold == pytest.approx(calibrated)
    assert at_rest.diagnostics["calibrated_threshold"] == pytest.approx(calibrated)
    assert at_rest.diagnostics["reference_rows"] == 300
    assert at_rest.diagnostics["reference_centre"] == pytest.approx(5)
    assert at_rest.diagnostics["reference_spread"] == pytest.approx(2, rel=0.02)
    assert at_rest.method == "adaptive"
    quantile = (calibrated - null.centre) / null.spread
    moved = decided(alone(0.5, 1.2), monkeypatch).threshold
    assert moved == pytest.approx(null.centre + null.spread * (0.5 + 1.2 * quantile))
    assert decided(alone(-0.5, 0.9), monkeypatch).threshold == pytest.approx(calibrated)


def test_a_group_far_above_raises_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = with_group(12.0, 0.1)
    expected = where_harmful(0.1, fit)
    found = decided(fit, monkeypatch).threshold
    assert found > decided(alone(0.1, 1.2), monkeypatch).threshold
    assert 0 <= found - expected <= 0.025  # the grid's distance


def test_a_group_that_overlaps_lowers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = with_group(3.4, 0.15)
    expected = where_harmful(0.5, fit)
    found = decided(fit, monkeypatch).threshold
    assert found < decided(alone(0.1, 1.2), monkeypatch).threshold
    assert 0 <= found - expected <= 0.005


def test_but_not_by_more_than_may_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    null = estimate_null(5 + 2 * REFERENCE)
    reference = (5 + 2 * REFERENCE - null.centre) / null.spread
    # Conformal quantiles: of 301 ranks 5 % and 10 % may be as high.
    fitted = 0.1 + 1.2 * np.sort(reference)[300 - math.floor(0.05 * 301)]
    at_rest = np.sort(reference)[300 - math.floor(0.1 * 301)]
    found = (decided(with_group(2.5, 0.9), monkeypatch).threshold - null.centre) / null.spread
    assert found == pytest.approx(max(fitted, at_rest), abs=1e-6)
    # Where the harmless rows are fitted low and narrow, the reference sets the limit.
    low = AlignedFit(-1.0, 0.8, TwoPieceT(2.5, 1.0, 1.0, 8.0), 0.9, 50.0)
    found = (decided(low, monkeypatch).threshold - null.centre) / null.spread
    assert found == pytest.approx(at_rest, abs=1e-6)


def test_a_group_below_what_may_be_lost_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    without = decided(alone(0.1, 1.2), monkeypatch).threshold
    assert decided(with_group(1.0, 0.3), monkeypatch).threshold == pytest.approx(without)


@pytest.mark.parametrize(
    ("fit", "told"),
    [
        (alone(0.74, 1.49), []),
        (alone(-0.76, 1.0), ["(moved by -0.76 sd, 1.00 times as wide)"]),
        (alone(0.76, 1.0), ["(moved by +0.76 sd, 1.00 times as wide)"]),
        (alone(0.0, 1.51), ["(moved by +0.00 sd, 1.51 times as wide)"]),
        (alone(0.0, 0.66), ["(moved by +0.00 sd, 0.66 times as wide)"]),
        (alone(0.0, 0.67), []),
        (with_group(9.0, 0.5), []),
        (
            with_group(9.0, 0.6),
            [
                "60 % of the rows look harmful: check that the reference was scored with the same "
                "model and direction"
            ],
        ),
    ],
)
def test_what_looks_wrong_is_told(
    fit: AlignedFit, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings = decided(fit, monkeypatch).diagnostics["warnings"]
    assert len(warnings) == len(told)
    for warning, words in zip(warnings, told, strict=True):
        assert words in warning


def test_a_tail_that_was_extrapolated_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    decision = decided(alone(), monkeypatch, level=0.001)
    assert decision.diagnostics["warnings"] == [
        "too few reference rows for this level; their tail was extrapolated"
    ]


def test_the_reason_gives_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    null = (
        "what 2 % of 300 harmless reference rows exceed (this data's harmless rows lie +0.10 sd "
        "from them and are 1.20 times as wide)"
    )
    assert decided(alone(0.1, 1.2), monkeypatch).reason == (
        f"no group above the harmless rows; the threshold is {null}."
    )
    assert decided(with_group(9.0, 0.125), monkeypatch).reason == (
        "a group above the harmless rows holds 12.5 % of all, and the threshold is where it "
        f"begins. Without it, it would be {null}."
    )


@pytest.mark.parametrize(
    ("true", "first"),
    [([0, 1, 0, 1, 1], 3), ([1, 1, 1], 0), ([0, 0, 1], 2), ([1, 1, 0], 2), ([0], 0)],
)
def test_from_where_on_all_are_true(true: list[int], first: int) -> None:
    assert adaptive._all_from(np.array(true, dtype=bool)) == first


def test_log_odds_by_hand() -> None:
    assert adaptive._log_odds(0.5) == 0
    assert adaptive._log_odds(0.1) == pytest.approx(-math.log(9))


LOW_TASK = normal_rows(-1.5, 0.35, 140)
"""Rows of one task, far below the reference and closer together."""


def following(scores: np.ndarray, reference: np.ndarray = REFERENCE) -> Decision:
    return AdaptiveRule("following", follows_groups=True)(scores, reference, level=0.02, seed=0)


def both(group: np.ndarray) -> tuple[float, float]:
    scores = np.concatenate([LOW_TASK, group])
    return decide(scores, REFERENCE).threshold, following(scores).threshold


def test_a_group_that_lies_above_the_reference_is_followed_down_to_where_it_begins() -> None:
    adaptive_at, following_at = both(normal_rows(2, 0.8, 60))
    # The bound by the reference: what five times the level, 10 % of it, exceed.
    assert adaptive_at >= np.quantile(REFERENCE, 0.9)
    assert LOW_TASK.max() < following_at < adaptive_at - 0.5


def test_a_group_of_ordinary_rows_above_those_of_a_task_is_not_followed() -> None:
    group = normal_rows(0, 1, 60)
    adaptive_at, following_at = both(group)
    assert following_at == adaptive_at
    assert np.mean(group >= following_at) <= 0.1


def gap_threshold(values: list[float], threshold: float = 3.0, lowest: float = 0.5) -> float:
    """Of 100 rows, 80 of a standard normal null as fitted: up to 0.5 as it has them, then these."""
    fit = AlignedFit(0.0, 1.0, TwoPieceT(4.0, 1.0, 1.0, 8.0), 0.2, 20.0)
    bulk = [*filter(lambda one: one <= 0.5, normal_rows(0, 1, 80))]
    rows = np.array(bulk + values + [5.0] * (100 - len(bulk) - len(values)))
    return adaptive._into_a_gap(threshold, lowest, rows, fit, estimate_null(REFERENCE))


def test_the_threshold_falls_into_the_gap_that_should_hold_most_rows() -> None:
    # Of 80 normal rows 12.2 lie between 1 and 2.5, and 4.3 between 0.8 and 1.
    assert gap_threshold([0.8, 1.0, 2.5]) == pytest.approx(1.75)
    # 12.6 between 1 and the threshold.
    assert gap_threshold([0.8, 1.0]) == pytest.approx(2.0)


def test_a_gap_must_not_be_chance() -> None:
    """24.6 of the 80 rows lie between 0.5 and 3.0 by the null: log(25.6 / 5 %) = 6.2 is needed."""
    steps = np.arange(0.5, 1.21, 0.1).tolist()
    # Between 1.2 and 1.9 lie 6.9 of 80 rows, between 1.2 and 1.7 only 5.6.
    assert gap_threshold([*steps, 1.9, 2.3, 2.9]) == pytest.approx(1.55)
    assert gap_threshold([*steps, 1.7, 2.0, 2.5]) == 3.0


@given(st.integers(0, 2**32 - 1), st.sampled_from([100, 1000]))
@settings(max_examples=40, deadline=None)
def test_chance_gaps_of_the_null_itself_hardly_ever_count(seed: int, rows: int) -> None:
    """One draw of the null in twenty may have such a gap; four in a row are one in 160,000."""
    generator = np.random.default_rng(seed)
    fit = AlignedFit(0.0, 1.0, TwoPieceT(9.0, 1.0, 1.0, 8.0), 0.01, 20.0)
    null = estimate_null(REFERENCE)
    found = [
        adaptive._into_a_gap(2.5, 1.6, generator.normal(0, 1, rows), fit, null) for _ in range(4)
    ]
    assert 2.5 in found


def test_a_gap_never_takes_the_threshold_below_what_may_be_lost() -> None:
    assert gap_threshold([1.5], lowest=1.2) == pytest.approx(1.2)
    # A gap that ends at 1.1 is none of its business.
    assert gap_threshold([1.1, 1.25, 1.4, 1.6, 1.85, 2.3], lowest=1.2) == 3.0


def test_without_rows_below_there_is_no_gap() -> None:
    fit = AlignedFit(0.0, 1.0, TwoPieceT(4.0, 1.0, 1.0, 8.0), 0.2, 20.0)
    found = adaptive._into_a_gap(3.0, 0.5, np.array([3.5, 4.0]), fit, estimate_null(REFERENCE))
    assert found == 3.0


@pytest.mark.parametrize("harmful", [8, 15])
def test_a_small_group_beyond_a_gap_is_followed(harmful: int) -> None:
    """Rows of a task end early, those of the reference late; the group is small and wide."""
    reference = np.random.default_rng(0).gamma(1.2, 2.6, 160)
    task = normal_rows(2.0, 0.8, 190)
    group = normal_rows(13, 3.5, harmful)
    scores = np.concatenate([task, group])
    assert (group < decide(scores, reference).threshold).any()
    assert task.max() < following(scores, reference).threshold <= group.min()


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.5), st.floats(-2, 6))
@settings(max_examples=25, deadline=None)
def test_following_never_stops_above_what_does_not_follow(
    seed: int, share: float, mean: float
) -> None:
    generator = np.random.default_rng(seed)
    harmful = round(200 * share)
    scores = np.concatenate(
        [generator.normal(-1, 0.5, 200 - harmful), generator.normal(mean, 1, harmful)]
    )
    plain, found = decide(scores, REFERENCE), following(scores)
    # Both look at a grid of points, each at one of its own.
    assert found.threshold <= plain.threshold + 0.01
    assert found.method == "following"
