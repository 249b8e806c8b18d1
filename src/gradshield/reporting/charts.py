"""Charts of study results: Vega-Lite specifications, drawn as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradshield.files import write_text

Chart = Mapping[str, Any]
"""A Vega-Lite specification."""


def write_chart(chart: Chart, path: Path) -> None:
    """Draw a chart as an SVG file."""
    write_text(path, svg_of(chart))


def svg_of(chart: Chart) -> str:
    """Draw a chart as an SVG element."""
    import vl_convert  # takes half a second: not where nothing is drawn

    return str(vl_convert.vegalite_to_svg(dict(chart)))


def bars(rows: Sequence[Mapping[str, Any]], *, title: str, value: str, label: str) -> Chart:
    """Horizontal bars, one for each row, in their order, with the value written beside them.

    Args:
        rows: With the keys `label` and `value`, and `group` for the colour.
        title: Title of the chart.
        value: Title of the axis.
        label: Key of the name of a bar.
    """
    axes: dict[str, Any] = {
        "y": {"field": label, "type": "nominal", "sort": None, "title": None},
        "x": {"field": "value", "type": "quantitative", "title": value},
    }
    coloured = {"color": {"field": "group", "type": "nominal", "title": None}}
    text = {"text": {"field": "value", "type": "quantitative", "format": ".2f"}}
    return {
        **_frame(title, rows),
        "layer": [
            {"mark": "bar", "encoding": {**axes, **coloured}},
            {
                "mark": {"type": "text", "align": "left", "dx": 4},
                "encoding": {**axes, **text},
            },
        ],
    }


def points_with_line(
    rows: Sequence[Mapping[str, Any]], *, title: str, x: str, y: str, slope: float
) -> Chart:
    """Points and the straight line through the origin with a slope.

    Args:
        rows: With the keys `x` and `y`.
        title: Title of the chart.
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
        slope: y per x of the line.
    """
    line = [{"x": end, "y": slope * end} for end in (0, max(row["x"] for row in rows))]
    axes = {
        "x": {"field": "x", "type": "quantitative", "title": x},
        "y": {"field": "y", "type": "quantitative", "title": y},
    }
    return {
        **_frame(title, rows),
        "layer": [
            {"data": {"values": line}, "mark": {"type": "line", "color": "#888"}, "encoding": axes},
            {"mark": {"type": "point", "filled": True, "size": 60}, "encoding": axes},
        ],
    }


def heat_map(rows: Sequence[Mapping[str, Any]], *, title: str, value: str) -> Chart:
    """Cells coloured by a value in [0, 1], with the value written in them.

    Args:
        rows: With the keys `x`, `y` and `value`, in the order in which names are to stand.
        title: Title of the chart.
        value: What the colour means.
    """
    axes: dict[str, Any] = {
        "x": {"field": "x", "type": "nominal", "sort": None, "title": None},
        "y": {"field": "y", "type": "nominal", "sort": None, "title": None},
    }
    shade = {
        "field": "value",
        "type": "quantitative",
        "title": value,
        "scale": {"domain": [0, 1], "scheme": "blues"},
    }
    # Dark cells get light figures.
    ink = {"condition": {"test": "datum.value > 0.6", "value": "white"}, "value": "black"}
    text = {"text": {"field": "value", "type": "quantitative", "format": ".2f"}, "color": ink}
    return {
        **_frame(title, rows),
        "height": {"step": 20},
        "width": {"step": 54},
        "layer": [
            {"mark": "rect", "encoding": {**axes, "color": shade}},
            {"mark": {"type": "text", "fontSize": 10}, "encoding": {**axes, **text}},
        ],
    }


def lines(rows: Sequence[Mapping[str, Any]], *, title: str, x: str, y: str) -> Chart:
    """Lines with points, in panels side by side.

    Args:
        rows: With the keys `x`, `y`, `line` and `panel`.
        title: Title of the chart.
        x: Title of the horizontal axis; values are shares.
        y: Title of the vertical axis; values are shares.
    """
    share = {"axis": {"format": ".0%"}, "type": "quantitative"}
    chart = _frame(title, rows)
    del chart["width"]  # Vega-Lite has it in the parts of a chart of several
    return {
        **chart,
        "facet": {"column": {"field": "panel", "type": "nominal", "title": None}},
        "spec": {
            "width": 260,
            "height": 240,
            "mark": {"type": "line", "point": True},
            "encoding": {
                "x": {"field": "x", "title": x, **share},
                "y": {"field": "y", "title": y, **share},
                "color": {"field": "line", "type": "nominal", "sort": None, "title": None},
            },
        },
    }


def search_trace(points: Sequence[Mapping[str, Any]], target: float) -> Chart:
    """The measured points of a threshold search, by the share of rows kept.

    Above the attack success rate with its interval and the target, below the utility.

    Args:
        points: With `kept_share`, `attack_success_rate`, `interval` (`low`, `high`), `utility`
            and `safe`.
        target: Highest tolerated attack success rate.
    """
    rows = [
        {**point, "order": number, **point["interval"]} for number, point in enumerate(points, 1)
    ]
    frame = _frame("Search for the threshold: points in the order measured", rows)
    del frame["width"]  # Vega-Lite has it in the parts of a chart of several
    return {**frame, "vconcat": [_success_rates(target), _utilities()]}


_KEPT = {
    "field": "kept_share",
    "type": "quantitative",
    "title": "share of rows kept",
    "axis": {"format": ".0%"},
    "scale": {"zero": False, "nice": True, "padding": 12},
}
_SAFE = {
    "color": {
        "field": "safe",
        "type": "nominal",
        "title": "within the target",
        "scale": {"domain": [True, False], "range": ["#2a7f62", "#c0392b"]},
    },
    "shape": {
        "field": "safe",
        "type": "nominal",
        "title": "within the target",
        "scale": {"domain": [True, False], "range": ["circle", "diamond"]},
    },
}
_DOTS = {"type": "point", "filled": True, "size": 70}


def _success_rates(target: float) -> dict[str, Any]:
    rate = {"type": "quantitative", "title": "attack success rate", "axis": {"format": ".0%"}}
    x, y = {"x": _KEPT}, {"y": {"field": "attack_success_rate", **rate}}
    interval = {"y": {"field": "low", **rate}, "y2": {"field": "high"}, "color": _SAFE["color"]}
    number = {"text": {"field": "order", "type": "quantitative"}}
    limit = {"y": {"field": "target", "type": "quantitative"}}
    return {
        "width": 460,
        "height": 200,
        "layer": [
            {
                "data": {"values": [{"target": target}]},
                "mark": {"type": "rule", "strokeDash": [5, 4], "color": "#666"},
                "encoding": limit,
            },
            {"mark": "rule", "encoding": {**x, **interval}},
            {"mark": _DOTS, "encoding": {**x, **y, **_SAFE}},
            {
                "mark": {"type": "text", "align": "left", "dx": 7, "dy": -7},
                "encoding": {**x, **y, **number},
            },
        ],
    }


def _utilities() -> dict[str, Any]:
    y = {"field": "utility", "type": "quantitative", "title": "utility", "scale": {"zero": False}}
    encoding = {"x": _KEPT, "y": y, **_SAFE}
    return {"width": 460, "height": 120, "mark": _DOTS, "encoding": encoding}


def _frame(title: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": {"text": title, "anchor": "start"},
        "width": 460,
        "background": "white",
        "data": {"values": [dict(row) for row in rows]},
    }
