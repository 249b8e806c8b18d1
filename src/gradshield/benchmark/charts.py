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
        raise UserError("Charts need vl-convert: pip install 'gradshield[benchmark]'.") from fault
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


def _frame(title: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": {"text": title, "anchor": "start"},
        "width": 460,
        "background": "white",
        "data": {"values": [dict(row) for row in rows]},
    }
