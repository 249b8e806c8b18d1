"""Curves of the fitted groups: each is a density, and where the decision says it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import trapezoid

from gradshield.reporting.densities import LOWER, REFERENCE, SINGLE, UPPER, fitted_densities
from gradshield.threshold import RULES, decide

GENERATOR = np.random.default_rng(0)
REFERENCE_SCORES = GENERATOR.normal(size=300)
TWO_GROUPS = np.concatenate([GENERATOR.normal(size=300), GENERATOR.normal(8, 1, size=60)])
GRID = np.linspace(-40, 60, 20_001)


def _decision(rule: str, scores: Any) -> dict[str, Any]:
    found = decide(scores, REFERENCE_SCORES, rule=rule)
    return {"diagnostics": found.diagnostics}


@pytest.mark.parametrize("rule", RULES)
def test_shares_add_up_to_one(rule: str) -> None:
    for scores in (TWO_GROUPS, REFERENCE_SCORES):
        curves = fitted_densities(_decision(rule, scores), REFERENCE_SCORES, GRID)
        assert curves
        areas = {name: trapezoid(curve, GRID) for name, curve in curves.items()}
        assert sum(areas.values()) == pytest.approx(1, abs=0.03)
        assert all(curve.min() >= 0 for curve in curves.values())


@pytest.mark.parametrize("rule", ["adaptive", "mixture", "paper", "heavy_tailed"])
def test_two_groups_peak_where_they_are(rule: str) -> None:
    curves = fitted_densities(_decision(rule, TWO_GROUPS), REFERENCE_SCORES, GRID)
    assert set(curves) == {LOWER, UPPER}
    assert GRID[np.argmax(curves[LOWER])] == pytest.approx(0, abs=0.7)
    assert GRID[np.argmax(curves[UPPER])] == pytest.approx(8, abs=0.7)
    assert trapezoid(curves[UPPER], GRID) == pytest.approx(60 / 360, abs=0.03)


def test_groups_that_a_task_shows_itself_are_drawn_as_it_shows_them() -> None:
    """The reference lies between them, where neither peaks."""
    scores = np.concatenate([GENERATOR.normal(-3, 0.3, 300), GENERATOR.normal(1.2, 0.4, 60)])
    decision = decide(scores, 2 * REFERENCE_SCORES - 1, rule="one_task")
    assert "aligned_null_threshold" in decision.diagnostics
    curves = fitted_densities({"diagnostics": decision.diagnostics}, REFERENCE_SCORES, GRID)
    assert GRID[np.argmax(curves[LOWER])] == pytest.approx(-3, abs=0.2)
    assert GRID[np.argmax(curves[UPPER])] == pytest.approx(1.2, abs=0.3)
    assert trapezoid(curves[UPPER], GRID) == pytest.approx(60 / 360, abs=0.03)


def test_one_group_is_one_curve() -> None:
    curves = fitted_densities(_decision("mixture", REFERENCE_SCORES), None, GRID)
    assert list(curves) == [SINGLE]
    peak = float(np.max(curves[SINGLE]))
    assert peak == pytest.approx(1 / (np.std(REFERENCE_SCORES) * np.sqrt(2 * np.pi)), rel=1e-3)


def test_rules_that_fit_nothing_show_the_reference() -> None:
    curves = fitted_densities(_decision("calibrated", TWO_GROUPS), REFERENCE_SCORES, GRID)
    assert list(curves) == [REFERENCE]


def test_a_search_shows_what_the_scores_alone_gave() -> None:
    alone = _decision("mixture", TWO_GROUPS)
    searched = {"diagnostics": {"from_scores_alone": alone}}
    found = fitted_densities(searched, None, GRID)
    for name, curve in fitted_densities(alone, None, GRID).items():
        np.testing.assert_array_equal(found[name], curve)


def test_nothing_to_show() -> None:
    assert fitted_densities({"diagnostics": {"warnings": ["1 row"]}}, None, GRID) == {}
    assert fitted_densities({}, np.array([1.0, 1.0]), GRID) == {}
