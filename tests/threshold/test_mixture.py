from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from gradshield.threshold import decide, mixture
from gradshield.threshold.gaussian import Component, GaussianFits
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


def test_crossing_of_components_that_overlap() -> None:
    # Log odds at the lower mean are the log of the weights' ratio less half a nat.
    heavy = Component(math.e / (1 + math.e), 1.0, 1.0)
    light = Component(1 / (1 + math.e), 0.0, 1.0)
    assert posterior_crossing(light, heavy) == 0.0
    even = Component(0.5, 0.0, 1.0), Component(0.5, 1.0, 1.0)
    assert posterior_crossing(*even) == pytest.approx(0.5)


def test_separation_by_hand() -> None:
    # sqrt((9 + 16) / 2) = 3.5355
    assert separation(Component(0.5, 1, 3), Component(0.5, 6, 4)) == pytest.approx(math.sqrt(2))


def test_threshold_lies_between_clear_groups() -> None:
    scores = np.r_[np.linspace(-1, 1, 40), np.linspace(9, 11, 20)]
    assert 1 < decide(scores, rule="mixture").threshold < 9


def groups(*sizes_means_sds: tuple[int, float, float]) -> np.ndarray:
    """Scores at the quantiles of Gaussians."""
    return np.concatenate(
        [norm.ppf((np.arange(rows) + 0.5) / rows, mean, sd) for rows, mean, sd in sizes_means_sds]
    )


def test_what_a_mixture_decision_says() -> None:
    decision = decide(groups((160, 0, 1), (40, 10, 2)), rule="mixture")
    found = decision.diagnostics
    assert found["lower"]["weight"] == pytest.approx(0.8, abs=0.01)
    assert found["lower"]["mean"] == pytest.approx(0.0, abs=0.1)
    assert found["upper"]["mean"] == pytest.approx(10.0, abs=0.1)
    assert found["upper"]["sd"] == pytest.approx(2.0, abs=0.2)
    assert found["single"]["weight"] == 1.0
    assert found["single"]["mean"] == pytest.approx(2.0)
    gain = found["log_likelihood_gain"]
    assert decision.reason == (
        f"2 components fitted ({gain:.0f} nats better than one); the upper one holds 20 % of the "
        "rows; the threshold lies between them."
    )
    assert found["warnings"] == []
    assert decision.method == "mixture"


def test_the_share_of_the_upper_component_is_told() -> None:
    reason = decide(groups((80, 0, 1), (120, 20, 1)), rule="mixture").reason
    assert "the upper one holds 60 % of the rows" in reason


def test_the_threshold_is_not_below_the_quantile_of_the_lower_component() -> None:
    scores = groups((300, 0, 1), (300, 6, 1))
    decision = decide(scores, rule="mixture", level=1e-4)
    lower = decision.diagnostics["lower"]
    # 3.72 sd above the lower mean; the components cross at 3.
    assert decision.threshold == pytest.approx(lower["mean"] + 3.719 * lower["sd"], rel=1e-3)


@pytest.mark.parametrize(
    ("scores", "objection"),
    [
        (groups((15, 0, 1), (4, 30, 1)), "19 rows are too few for two components"),
        (groups((200, 0, 1)), r"two Gaussians fit better by -?[0-2]\.\d nats, BIC asks 7\.9"),
        (groups((50, 0, 1), (150, 30, 1)), "the upper component would hold 75 % of the rows"),
    ],
)
def test_every_objection_is_told(scores: np.ndarray, objection: str) -> None:
    decision = decide(scores, rule="mixture")
    told = decision.diagnostics["warnings"]
    assert any(re.fullmatch(objection, one) for one in told), told
    assert decision.reason == (
        f"no mixture used ({told[0]}); the threshold is a robust upper limit."
    )
    assert decision.method == "mixture"


def test_components_that_lie_over_each_other_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lower, upper = Component(0.7, 0.0, 1.0), Component(0.3, 0.0677, 5.0)
    fits = GaussianFits(lower, lower, upper, 99.0, np.zeros(100, dtype=bool))
    monkeypatch.setattr(mixture, "fit_gaussians", lambda scores, seed: fits)
    # sqrt((1 + 25) / 2) = 3.6; a Gaussian has 49.46 % more than 0.0135 sd below its mean.
    assert decide(np.arange(100.0), rule="mixture").diagnostics["warnings"] == [
        "the components are only 0.0 sd apart",
        "49 % of the upper component lie below the lower one's mean",
    ]


def test_twenty_rows_are_enough() -> None:
    decision = decide(groups((16, 0, 1), (4, 30, 1)), rule="mixture")
    assert decision.diagnostics["warnings"] == []


def test_one_group_falls_back_to_a_robust_limit() -> None:
    scores = norm.ppf((np.arange(200) + 0.5) / 200)
    decision = decide(scores, rule="mixture", level=0.02)
    # median 0, MAD 0.6745, so the limit is the Gaussian quantile 2.0537
    assert decision.threshold == pytest.approx(2.0537, abs=0.03)
    assert "BIC" in decision.diagnostics["warnings"][0]
