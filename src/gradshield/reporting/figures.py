"""The drawn charts of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradshield.reporting.densities import fitted_densities
from gradshield.reporting.document import ReportHead
from gradshield.reporting.score_charts import (
    draw,
    score_distribution,
    shares_with_intervals,
    themed_trace,
)
from gradshield.threshold.rule import FloatArray

CURVE_POINTS = 240


@dataclass(frozen=True)
class Figures:
    """SVG elements; None where there is nothing to draw.

    Attributes:
        scores: Distribution of the scores.
        groups: Names of the curves in it, in order.
        search: Points of the search.
        models: Safety before and after.
    """

    scores: str | None
    groups: tuple[str, ...]
    search: str | None
    models: str | None


def draw_figures(
    document: ReportHead,
    scores: FloatArray,
    decision: Mapping[str, Any],
    reference: FloatArray | None,
) -> Figures:
    """Draw what a report shows.

    Args:
        document: What the report says of the run.
        scores: FIHS of the scored rows, shape (rows,).
        decision: The content of `decision.json`, its threshold infinite where nothing is removed.
        reference: Scores of the harmless reference rows, None where there are none.
    """
    groups: tuple[str, ...] = ()
    distribution = search = models = None
    if scores.size:
        grid = np.linspace(float(scores.min()), float(scores.max()), CURVE_POINTS)
        densities = fitted_densities(decision, reference, grid)
        chart = score_distribution(scores, decision["threshold"], densities, grid)
        distribution = draw(chart, "Histogram of the scores, with the threshold and removed rows")
        groups = tuple(densities)
    if document.search is not None:
        points = [
            {**point.model_dump(), "interval": {"low": point.low, "high": point.high}}
            for point in document.search.points
        ]
        search = draw(themed_trace(points, document.search.target), "Points of the search")
    if document.models:
        models = draw(shares_with_intervals(_shares(document)), "Safety before and after")
    return Figures(distribution, groups, search, models)


def _shares(document: ReportHead) -> list[dict[str, Any]]:
    """Both shares of each model, harmful prompts first."""
    found = []
    for model in document.models:
        complied = (model.test_asr, model.test_asr_low, model.test_asr_high)
        refused = (model.over_refusal, model.over_refusal_low, model.over_refusal_high)
        for measure, (value, low, high) in (("complied", complied), ("refused", refused)):
            entry = {"model": model.name, "measure": measure}
            found.append({**entry, "value": value, "low": low, "high": high})
    return found
