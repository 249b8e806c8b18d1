"""Charts of study results: Vega-Lite specifications, drawn as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradshield.errors import UserError
from gradshield.files import write_text

Chart = Mapping[str, Any]
"""A Vega-Lite specification."""


def write_chart(chart: Chart, path: Path) -> None:
    """Draw a chart as an SVG file.

    Raises:
        UserError: The renderer is not installed.
    """
    try:
        import vl_convert
    except ImportError as fault:
        raise UserError("Charts need vl-convert: pip install 'gradshield[search]'.") from fault
    write_text(path, vl_convert.vegalite_to_svg(dict(chart)))


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


def search_trace(points: Sequence[Mapping[str, Any]], target: float) -> Chart:
    """The measured points of a threshold search, by the share of rows kept.

    Above the attack success rate with its interval and the target, below the utility.

    Args:
        points: With `kept_share`, `attack_success_rate`, `interval` (`low`, `high`), `utility`
            and `safe`.
        target: Highest tolerated attack success rate.
    """
    rows = [
        {**point, "order": number + 1, **point["interval"]} for number, point in enumerate(points)
    ]
    x = {
        "field": "kept_share",
        "type": "quantitative",
        "title": "share of rows kept",
        "axis": {"format": ".0%"},
        "scale": {"zero": False},
    }
    rate = {"type": "quantitative", "title": "attack success rate", "axis": {"format": ".0%"}}
    colour = {
        "field": "safe",
        "type": "nominal",
        "title": "within the target",
        "scale": {"domain": [True, False], "range": ["#2a7f62", "#c0392b"]},
    }
    dots = {"type": "point", "filled": True, "size": 70}
    number = {"type": "text", "align": "left", "dx": 7, "dy": -7}
    number_encoding = {"text": {"field": "order", "type": "quantitative"}}
    success = {
        "width": 460,
        "height": 200,
        "layer": [
            {
                "data": {"values": [{"target": target}]},
                "mark": {"type": "rule", "strokeDash": [5, 4], "color": "#666"},
                "encoding": {"y": {"field": "target", "type": "quantitative"}},
            },
            {
                "mark": {"type": "rule"},
                "encoding": {
                    "x": x,
                    "y": {"field": "low", **rate},
                    "y2": {"field": "high"},
                    "color": colour,
                },
            },
            {
                "mark": dots,
                "encoding": {
                    "x": x,
                    "y": {"field": "attack_success_rate", **rate},
                    "color": colour,
                },
            },
            {
                "mark": number,
                "encoding": {
                    "x": x,
                    "y": {"field": "attack_success_rate", **rate},
                    **number_encoding,
                },
            },
        ],
    }
    y = {"field": "utility", "type": "quantitative", "title": "utility", "scale": {"zero": False}}
    utility = {
        "width": 460,
        "height": 120,
        "mark": dots,
        "encoding": {"x": x, "y": y, "color": colour},
    }
    title = "Search for the threshold: points in the order measured"
    frame = _frame(title, rows)
    del frame["width"]
    return {**frame, "vconcat": [success, utility]}


def _frame(title: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": {"text": title, "anchor": "start"},
        "width": 460,
        "background": "white",
        "data": {"values": [dict(row) for row in rows]},
    }
