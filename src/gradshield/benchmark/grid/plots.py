"""Every figure of the benchmark, from the raw results of a grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gradshield.benchmark.grid.tables import Table, finetuned, read_results, separation_table
from gradshield.finetuning.trial import PLAIN
from gradshield.reporting.charts import Chart, heat_map, lines, write_chart


def separation_chart(results: Table) -> Chart | None:
    """Average precision of every filter against every attack."""
    table = separation_table(results)
    if table.empty:
        return None
    cells = table.reset_index().melt("filter", var_name="attack", value_name="value")
    rows = [
        {"x": str(row.attack), "y": str(row.filter), "value": row.value}
        for row in cells.dropna().itertuples()
    ]
    return heat_map(rows, title="Average precision by attack", value="average precision")


def success_chart(results: Table) -> Chart | None:
    """Attack success after finetuning by harmful share, a line for each filter and protocol."""
    found = finetuned(results)
    found = found[found["method"] == PLAIN]
    if found.empty:
        return None
    means = found.groupby(["filter", "protocol", "share"], observed=True)["asr"].mean()
    rows = [
        {"x": row.share, "y": row.asr, "line": str(row.filter), "panel": str(row.protocol)}
        for row in means.reset_index().itertuples()
    ]
    return lines(
        rows,
        title="Attack success after finetuning on what is kept",
        x="harmful share of the rows",
        y="attack success rate",
    )


def success_by_attack_chart(results: Table) -> Chart | None:
    """Attack success after finetuning, by attack and harmful share."""
    found = finetuned(results)
    if found.empty:
        return None
    with_protocol = found["name"] + ", " + found["protocol"]
    found["trained"] = with_protocol.where(found["method"] == PLAIN, found["name"])
    means = found.groupby(["trained", "attack"], observed=True, sort=False)["asr"].mean()
    rows = [
        {"x": str(row.attack), "y": row.trained, "value": row.asr}
        for row in means.reset_index().itertuples()
    ]
    return heat_map(
        rows, title="Attack success after finetuning, by attack", value="attack success rate"
    )


FIGURES: dict[str, Callable[[Table], Chart | None]] = {
    "separation": separation_chart,
    "success": success_chart,
    "success_by_attack": success_by_attack_chart,
}
"""By name; a figure without results is None."""


def draw(folder: Path, out: Path) -> list[Path]:
    """Draw all figures that there are results for as `OUT/NAME.svg`.

    Raises:
        UserError: There are no results, or the renderer is not installed.
    """
    results = read_results(folder)
    written = []
    for name, figure in FIGURES.items():
        chart = figure(results)
        if chart is not None:
            write_chart(chart, out / f"{name}.svg")
            written.append(out / f"{name}.svg")
    return written
