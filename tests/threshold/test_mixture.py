from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from gradshield.threshold import decide
from gradshield.threshold.gaussian import Component
from gradshield.threshold.mixture import posterior_crossing, separation


@settings(deadline=None)
@given(
    weight=st.floats(0.2, 0.8), gap=st.floats(4, 20), sd=st.floats(0.5, 1.5), low=st.floats(-5, 5)
)
def test_crossing_of_equal_spreads_has_a_closed_form(
    weight: float, gap: float, sd: float, low: float
) -> None:
    lower, upper = Component(1 - weight, low, sd), Component(weight, low + gap, sd)
    expected = low + gap / 2 + sd**2 * math.log((1 - weight) / weight) / gap
    assert posterior_crossing(lower, upper) == pytest.approx(expected, abs=1e-6)


def test_crossing_stays_between_the_means() -> None:
    faint = Component(1e-12, 1.0, 1.0)
    assert posterior_crossing(Component(1.0, 0.0, 1.0), faint) == 1.0
    assert posterior_crossing(faint, Component(1.0, 2.0, 1.0)) == 1.0


def test_separation_by_hand() -> None:
    # sqrt((9 + 16) / 2) = 3.5355
    assert separation(Component(0.5, 1, 3), Component(0.5, 6, 4)) == pytest.approx(math.sqrt(2))


def test_threshold_lies_between_clear_groups() -> None:
    scores = np.r_[np.linspace(-1, 1, 40), np.linspace(9, 11, 20)]
    assert 1 < decide(scores, rule="mixture").threshold < 9


def test_one_group_falls_back_to_a_robust_limit() -> None:
    scores = norm.ppf((np.arange(200) + 0.5) / 200)
    decision = decide(scores, rule="mixture", level=0.02)
    # median 0, MAD 0.6745, so the limit is the Gaussian quantile 2.0537
    assert decision.threshold == pytest.approx(2.0537, abs=0.03)
    assert "BIC" in decision.diagnostics["warnings"][0]
