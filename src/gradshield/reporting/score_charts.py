"""Charts of a run for its report: where the scores lie, what a search measured, what it proved.

Colours are the page's custom properties, so that a drawing follows its light and dark theme.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradshield.reporting.charts import Chart, search_trace, svg_of
from gradshield.threshold.rule import FloatArray

BINS = 64
CURVE_POINTS = 240
RUG_PLACES = 400
"""Removed rows nearer to each other than a pixel share a line of the rug."""

WIDTH, HEIGHT = 1080, 260

_AXIS = {
    "labelColor": "var(--ink-soft)",
    "titleColor": "var(--ink-soft)",
    "gridColor": "var(--line)",
    "domainColor": "var(--line-strong)",
    "tickColor": "var(--line-strong)",
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
    "titlePadding": 8,
}
_THEME = {
    "font": "Arial, Liberation Sans, sans-serif",  # the drawer measures labels in one of these
    "axis": _AXIS,
    "view": {"stroke": None},
    "text": {"color": "var(--ink)", "fontSize": 12},
    # The page has its own, which wraps and is read aloud.
    "legend": {"disable": True},
}
_THEMED_COLOURS = {"#2a7f62": "var(--kept)", "#c0392b": "var(--removed)", "#666": "var(--ink-soft)"}
"""Colours of `search_trace` and what stands for them in the page."""

LINE_COLOURS = ("var(--line-a)", "var(--line-b)")
"""Of the fitted groups, in their order."""


def draw(chart: Chart, label: str) -> str:
    """An SVG element that takes its colours from the page and its width from its place."""
    svg = svg_of({**chart, "background": None, "config": _THEME})
    for colour, themed in _THEMED_COLOURS.items():
        svg = svg.replace(f'"{colour}"', f'"{themed}"')
    svg = _own_clip_names(svg, "".join(filter(str.isalpha, label)))
    # One picture with a name for a screen reader, instead of a tree of unnamed marks.
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _own_clip_names(svg: str, stem: str) -> str:
    """Names of clip paths that no other drawing of the page has, and the same in every run."""
    for place, name in enumerate(dict.fromkeys(re.findall(r'id="(clip\d+)"', svg))):
        for old in (f'id="{name}"', f"url(#{name})"):
            svg = svg.replace(old, old.replace(name, f"{stem}-{place}"))
    return svg


def score_distribution(
    scores: FloatArray, threshold: float, densities: Mapping[str, FloatArray], grid: FloatArray
) -> Chart:
    """Histogram of all scores, the fitted groups over it, the threshold, and removed rows below.

    Args:
        scores: FIHS of the scored rows, shape (rows,), at least one.
        threshold: Rows at or above it are removed; infinite where none is.
        densities: Curves of the fitted groups on `grid`, see `densities.fitted_densities`.
        grid: Scores of the curves.
    """
    edges = bin_edges(scores, threshold)
    x = {"type": "quantitative", "scale": {"domain": [float(edges[0]), float(edges[-1])]}}
    ticks = {"offset": 14, "grid": False, "tickCount": 12}
    axis = {"title": "FIHS (positive: pushes towards harm)", "axis": ticks}
    rows = {"type": "quantitative", "title": "rows", "axis": {"tickCount": 5}}
    bars = {
        "data": {"values": _bars(scores, threshold, edges)},
        "mark": {"type": "bar", "opacity": 0.85, "binSpacing": 1},
        "encoding": {
            "x": {"field": "from", **x, **axis},
            "x2": {"field": "to"},
            "y": {"field": "rows", **rows},
            "y2": {"datum": 0},
            "color": {
                "field": "state",
                "type": "nominal",
                "legend": None,
                "scale": {
                    "domain": ["kept", "removed"],
                    "range": ["var(--kept)", "var(--removed)"],
                },
            },
        },
    }
    layers = [bars, *_curves(scores, densities, grid, edges, x), _rug(scores, threshold, x)]
    if math.isfinite(threshold):
        layers.append(_threshold_line(threshold, x))
    return {**_FRAME, "width": WIDTH, "height": HEIGHT, "layer": layers}


_FRAME = {"$schema": "https://vega.github.io/schema/vega-lite/v5.json"}


def bin_edges(scores: FloatArray, threshold: float) -> FloatArray:
    """Edges of equal bins over all scores, one of them at the threshold if it lies among them.

    So no bar holds kept and removed rows.
    """
    low, high = float(np.min(scores)), float(np.max(scores))
    if low == high:
        low, high = low - 0.5, high + 0.5
    width = (high - low) / BINS
    if not low <= threshold <= high:
        return np.asarray(low + width * np.arange(BINS + 1), dtype=np.float64)
    below, above = math.ceil((threshold - low) / width), math.ceil((high - threshold) / width)
    # The highest score must not stand on the last edge, nor a lone bin be missing.
    return np.asarray(threshold + width * np.arange(-max(below, 1), max(above, 1) + 1))


def _bars(scores: FloatArray, threshold: float, edges: FloatArray) -> list[dict[str, Any]]:
    counts, _ = np.histogram(scores, edges)
    return [
        {
            "from": float(low),
            "to": float(high),
            "rows": int(count),
            "state": "removed" if (low + high) / 2 >= threshold else "kept",
        }
        for count, low, high in zip(counts, edges, edges[1:], strict=False)
        if count
    ]


def _curves(
    scores: FloatArray,
    densities: Mapping[str, FloatArray],
    grid: FloatArray,
    edges: FloatArray,
    x: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The fitted groups in rows per bin, as the bars are."""
    per_bin = scores.size * float(edges[1] - edges[0])
    return [
        {
            "data": {
                "values": [
                    {"x": float(score), "rows": float(value)}
                    for score, value in zip(grid, per_bin * density, strict=True)
                ]
            },
            "mark": {"type": "line", "strokeWidth": 2, "color": colour, "clip": True},
            "encoding": {
                "x": {"field": "x", **x},
                "y": {"field": "rows", "type": "quantitative"},
            },
        }
        for density, colour in zip(densities.values(), LINE_COLOURS, strict=False)
    ]


def _rug(scores: FloatArray, threshold: float, x: Mapping[str, Any]) -> dict[str, Any]:
    removed = scores[scores >= threshold]
    step = max(float(np.ptp(scores)) / RUG_PLACES, 1e-300)
    places = sorted({round(float(score) / step) * step for score in removed})
    return {
        "data": {"values": [{"x": place} for place in places]},
        "mark": {"type": "rule", "color": "var(--removed)", "strokeWidth": 1, "opacity": 0.8},
        "encoding": {
            "x": {"field": "x", **x},
            "y": {"value": HEIGHT + 3},
            "y2": {"value": HEIGHT + 12},
        },
    }


def _threshold_line(threshold: float, x: Mapping[str, Any]) -> dict[str, Any]:
    encoding = {"x": {"field": "x", **x}}
    text = {"type": "text", "align": "left", "baseline": "top", "dx": 6, "color": "var(--ink)"}
    return {
        "data": {"values": [{"x": threshold, "label": f"threshold {threshold:.4g}"}]},
        "layer": [
            {
                "mark": {"type": "rule", "strokeDash": [5, 4], "color": "var(--ink)", "size": 1.5},
                "encoding": encoding,
            },
            {
                "mark": text,
                "encoding": {**encoding, "y": {"value": 0}, "text": {"field": "label"}},
            },
        ],
    }


def themed_trace(points: Sequence[Mapping[str, Any]], target: float) -> Chart:
    """The trace of a search without its title, which the page has as a heading."""
    return {name: part for name, part in search_trace(points, target).items() if name != "title"}


def shares_with_intervals(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Shares of models as points with their intervals, a line a model and measure.

    Args:
        rows: With `model`, `measure`, `value`, `low` and `high`, shares in [0, 1].
    """
    scale = {"domain": [0, max(0.1, *(row["high"] for row in rows))], "nice": True}
    x = {"type": "quantitative", "title": None, "axis": {"format": ".0%"}, "scale": scale}
    encoding = {
        "y": {"field": "model", "type": "nominal", "sort": None, "title": "finetuned on"},
        "yOffset": {"field": "measure", "type": "nominal", "sort": None},
        "color": {
            "field": "measure",
            "type": "nominal",
            "sort": None,
            "title": None,
            "scale": {"range": ["var(--removed)", "var(--line-a)"]},
        },
    }
    ends = {"x": {"field": "low", **x}, "x2": {"field": "high"}}
    return {
        **_FRAME,
        "width": 380,
        "height": {"step": 17},
        "data": {"values": [dict(row) for row in rows]},
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": {**encoding, **ends}},
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {**encoding, "x": {"field": "value", **x}},
            },
        ],
    }
