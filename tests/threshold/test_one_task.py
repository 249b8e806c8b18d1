"""The rule for data of one task, against densities and reference rows made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, norm
from scipy.stats import t as student

from gradshield.threshold import decide, one_task
from gradshield.threshold.adaptive import AdaptiveRule
from gradshield.threshold.decision import Decision
from gradshield.threshold.heavy_tailed import posterior_crossing
from gradshield.threshold.heavy_tailed_fit import HeavyTailedFits
from gradshield.threshold.two_piece_t import TwoPieceT

REFERENCE = np.random.default_rng(0).gamma(1.2, 3.3, 160)
"""Varied chat: skewed, three quarters of it below 5.4."""
HIGH = float(np.quantile(REFERENCE, 0.75))


def normal_rows(mean: float, sd: float, rows: int) -> np.ndarray:
    return norm(mean, sd).ppf((np.arange(rows) + 0.5) / rows)


TASK = normal_rows(2.2, 0.9, 140)


def both(scores: np.ndarray, reference: np.ndarray | None = REFERENCE) -> tuple[Decision, Decision]:
    """By the aligned null alone, and by the rule."""
    aligned_null = AdaptiveRule("one_task", follows_groups=True)
    alone = aligned_null(scores, reference, level=0.02, seed=0)
    return alone, decide(scores, reference, rule="one_task")


def test_a_group_that_begins_where_the_task_ends_is_found() -> None:
    group = normal_rows(6.5, 1.8, 60)
    alone, found = both(np.concatenate([TASK, group]))
    assert np.mean(group < alone.threshold) == 1
    assert np.mean(group < found.threshold) < 0.15
    assert np.mean(found.threshold <= TASK) <= 0.03
    assert found.reason.startswith(
        "two groups show, with what 25 % of 160 harmless reference rows exceed between them; the "
        "upper one holds "
    )
    assert found.diagnostics["aligned_null_threshold"] == alone.threshold
    assert found.diagnostics["upper_weight"] == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize(
    "scores",
    [
        pytest.param(TASK, id="a task alone"),
        pytest.param(REFERENCE[:120], id="varied chat"),
        pytest.param(np.concatenate([TASK / 5, TASK]), id="two harmless groups"),
    ],
)
def test_without_a_harmful_group_it_decides_as_the_aligned_null_does(scores: np.ndarray) -> None:
    alone, found = both(scores)
    assert (found.threshold, found.reason) == (alone.threshold, alone.reason)
    assert found.method == "one_task"


def test_of_chat_among_a_tasks_rows_the_highest_pass_for_harm() -> None:
    """As much as the reference has above its upper quartile, and hardly more."""
    chat = REFERENCE[:60]
    _, found = both(np.concatenate([TASK, chat]))
    assert 0.1 < np.mean(chat >= found.threshold) < 0.35


@pytest.mark.parametrize("reference", [None, REFERENCE[:19], np.ones(100)])
def test_without_a_usable_reference_it_decides_as_the_aligned_null_does(
    reference: np.ndarray | None,
) -> None:
    alone, found = both(np.concatenate([TASK, normal_rows(9, 1, 60)]), reference)
    assert (found.threshold, found.diagnostics) == (alone.threshold, alone.diagnostics)


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.5), st.floats(0, 15))
@settings(max_examples=25, deadline=None)
def test_it_never_stops_above_the_aligned_null(seed: int, share: float, mean: float) -> None:
    generator = np.random.default_rng(seed)
    harmful = round(200 * share)
    task, group = generator.normal(2, 1, 200 - harmful), generator.normal(mean, 2, harmful)
    alone, found = both(np.concatenate([task, group]))
    assert found.threshold <= alone.threshold


@given(st.integers(0, 2**32 - 1), st.sampled_from([200, 5000]), st.floats(0.1, 3))
@settings(max_examples=25, deadline=None)
def test_skewed_tasks_alone_lose_few_rows(seed: int, rows: int, scale: float) -> None:
    scores = scale * np.random.default_rng(seed).gamma(2.0, 1.0, rows)
    _, found = both(scores)
    assert np.mean(scores >= found.threshold) <= 0.1


ROWS = 200
NEEDED = float(chi2.isf(0.01, 3)) / 2


def fits(*, gain: float = 99.0, weight: float = 0.3, upper: float = 8.0) -> HeavyTailedFits:
    """A task around 2, and a group above it."""
    lower, group = TwoPieceT(2.0, 0.8, 0.8, 8.0), TwoPieceT(upper, 1.0, 1.0, 8.0)
    return HeavyTailedFits(lower, lower, group, weight, gain)


def decided(found: HeavyTailedFits, monkeypatch: pytest.MonkeyPatch, rows: int = ROWS) -> Decision:
    """With these fits, of rows in which the aligned null sees nothing."""
    monkeypatch.setattr(one_task, "fit_heavy_tailed", lambda scores: found)
    return decide(normal_rows(2.2, 0.9, rows), REFERENCE, rule="one_task")


def test_the_threshold_is_where_both_groups_are_as_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    found = decided(fits(), monkeypatch)
    assert found.threshold == posterior_crossing(fits())
    at = np.array([found.threshold])
    lower = 0.7 * student.pdf(at, 8, loc=2, scale=0.8)
    assert lower == pytest.approx(0.3 * student.pdf(at, 8, loc=8, scale=1.0), rel=0.1)


def test_no_more_than_the_level_of_the_lower_group_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    many = fits(weight=0.66, upper=5.8)
    expected = 2 + 0.8 * float(student.isf(0.02, 8))
    assert posterior_crossing(many) < expected < HIGH
    assert decided(many, monkeypatch).threshold == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seen", "unseen"),
    [
        (fits(gain=NEEDED + 0.01), fits(gain=NEEDED - 0.01)),
        (fits(weight=0.66), fits(weight=0.67)),
        (fits(upper=HIGH + 0.01), fits(upper=HIGH - 0.01)),
    ],
)
def test_what_two_groups_need(
    seen: HeavyTailedFits, unseen: HeavyTailedFits, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert decided(seen, monkeypatch).threshold < HIGH
    assert decided(unseen, monkeypatch).threshold > HIGH


def test_a_task_that_reaches_as_high_as_chat_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threshold, not the lower mode, must lie below what a quarter of the reference exceed."""
    far = fits(upper=14.0)
    assert posterior_crossing(far) > HIGH
    assert "aligned_null_threshold" not in decided(far, monkeypatch).diagnostics


@pytest.mark.parametrize(("rows", "counted"), [(900, 900), (1000, 1000), (4000, 1000)])
def test_more_than_a_thousand_rows_count_as_a_thousand(
    rows: int, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for margin, below in ((0.01, True), (-0.01, False)):
        gain = (NEEDED + margin) * rows / counted
        found = decided(fits(gain=gain), monkeypatch, rows)
        assert (found.threshold < HIGH) == below
