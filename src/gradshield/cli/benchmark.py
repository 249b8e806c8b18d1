"""`gradshield benchmark`: studies that measure the product, with result files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gradshield.benchmark.result import StudyResult, write_result
from gradshield.benchmark.studies import STUDIES
from gradshield.cli.display import Display
from gradshield.errors import UserError


def benchmark_command(
    study: Annotated[str, typer.Argument(help=f"One of {', '.join(STUDIES)}.")],
    public_data: Annotated[
        Path, typer.Option(help="Folder of the public data sets (AdvBench, XSTest, SST-2, …).")
    ] = Path("public-data"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the result files.")] = Path(
        "benchmarks/results"
    ),
) -> None:
    """Run a study and write OUT/STUDY.json: raw rows, bars, command, versions, hardware, seeds.

    A bar that does not hold is reported as such; the exit code is 0 all the same.
    """
    if study not in STUDIES:
        raise UserError(f"Unknown study {study}: choose one of {', '.join(STUDIES)}.")
    path = out / f"{study}.json"
    result = write_result(path, lambda: STUDIES[study](public_data, Display()))
    _show(result)
    Console().print(f"Result file: {path}", markup=False)


def _show(result: StudyResult) -> None:
    table = Table(title="Bars", title_justify="left")
    for heading in ("measured", "value", "target", "holds"):
        table.add_column(heading)
    for bar in result.bars:
        target = f"{bar.comparison} {bar.limit}"
        table.add_row(bar.name, f"{bar.value:.4f}", target, "yes" if bar.holds else "NO")
    Console().print(table)
