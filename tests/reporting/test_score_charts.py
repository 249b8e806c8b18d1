"""Charts of a run: bars that count, a threshold between them, colours of the page."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from gradshield.reporting.score_charts import (
    RUG_PLACES,
    bin_edges,
    draw,
    score_distribution,
    shares_with_intervals,
    themed_trace,
)

SCORES = np.array([-1.0, -0.5, 0.0, 0.2, 0.5, 2.0])
GRID = np.linspace(-1, 2, 5)


def _layers(scores: Any, threshold: float) -> list[dict[str, Any]]:
    chart = score_distribution(scores, threshold, {"a": np.ones(5)}, GRID)
    return list(chart["layer"])


def test_every_row_is_in_one_bar_of_its_side() -> None:
    bars = _layers(SCORES, 0.2)[0]["data"]["values"]
    counted = {"kept": 0, "removed": 0}
    for bar in bars:
        counted[bar["state"]] += bar["rows"]
        assert (bar["from"] >= 0.2) == (bar["state"] == "removed")
    assert counted == {"kept": 3, "removed": 3}


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 2.0, 5.0, -5.0, math.inf])
def test_edges_hold_all_scores(threshold: float) -> None:
    edges = bin_edges(SCORES, threshold)
    assert np.histogram(SCORES, edges)[0].sum() == SCORES.size
    assert np.all(np.diff(edges) > 0)
    if -1 <= threshold <= 2:
        assert np.min(np.abs(edges - threshold)) < 1e-9


def test_equal_scores_have_a_chart() -> None:
    chart = score_distribution(np.array([1.0, 1.0]), math.inf, {}, np.array([1.0, 1.0]))
    assert draw(chart, "Scores").startswith("<svg ")


def test_curves_are_in_rows_per_bar() -> None:
    curve = _layers(SCORES, 0.2)[1]["data"]["values"]
    edges = bin_edges(SCORES, 0.2)
    assert curve[0]["rows"] == pytest.approx(SCORES.size * (edges[1] - edges[0]))


def test_the_rug_has_a_place_for_every_removed_row_but_not_more_than_pixels() -> None:
    rug = _layers(SCORES, 0.2)[2]["data"]["values"]
    assert [round(place["x"], 1) for place in rug] == [0.2, 0.5, 2.0]
    many = np.linspace(0, 1, 20_000)
    assert len(_layers(many, 0.5)[2]["data"]["values"]) <= RUG_PLACES


def test_no_threshold_no_line() -> None:
    assert len(_layers(SCORES, 0.2)) == len(_layers(SCORES, math.inf)) + 1


def test_a_drawing_takes_the_colours_of_the_page_and_has_no_styles() -> None:
    svg = draw(score_distribution(SCORES, 0.2, {"a": np.ones(5)}, GRID), "Scores of rows")
    assert 'role="img" aria-label="Scores of rows"' in svg
    assert "var(--kept)" in svg
    assert "var(--removed)" in svg
    # The content policy of the page forbids both.
    assert "style=" not in svg
    assert "<style" not in svg
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg))
    assert all(c.startswith("var(") or c in ("none", "transparent") for c in colours)


def test_the_trace_of_a_search() -> None:
    point = {
        "kept_share": 0.5,
        "attack_success_rate": 0.1,
        "interval": {"low": 0.05, "high": 0.2},
        "utility": 0.4,
        "safe": False,
    }
    chart = themed_trace([point, {**point, "safe": True, "kept_share": 0.3}], 0.06)
    assert "title" not in chart
    svg = draw(chart, "Search")
    assert "var(--kept)" in svg
    assert not set(re.findall(r"#[0-9a-f]{3,6}\b", svg))


def test_shares_with_their_intervals() -> None:
    rows = [
        {"model": m, "measure": "complied with", "value": 0.1, "low": 0.05, "high": 0.2}
        for m in ("nothing", "all rows")
    ]
    svg = draw(shares_with_intervals(rows), "Safety")
    assert "all rows" in svg
    assert "complied with" in svg
