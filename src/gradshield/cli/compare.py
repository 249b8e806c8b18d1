"""`gradshield compare`: what changed between two evaluations, prompt by prompt and item by item."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from gradshield.cli import options as o
from gradshield.cli.terminal import SafeConsole, print_json
from gradshield.run.compare import Comparison, compare_evaluations


def compare_command(
    first: Annotated[Path, typer.Argument(help="Folder of an evaluation.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Folder of another.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    json: o.JsonOption = False,
) -> None:
    """Compare two evaluations on the prompts and items that both hold.

    Differences are SECOND minus FIRST, with 95 % intervals by a paired bootstrap: what both find
    hard cancels. An interval without 0 is a difference that chance hardly makes.

    Example: gradshield compare before after
    """
    comparisons = compare_evaluations(first, second, seed)
    if json:
        print_json([asdict(one) for one in comparisons])
        return
    SafeConsole().print(_table(comparisons))


def _table(comparisons: list[Comparison]) -> Table:
    table = Table(title="Second against first", title_justify="left")
    table.add_column("measured")
    for heading in ("both", "first", "second", "difference", "95 %"):
        table.add_column(heading, justify="right")
    for one in comparisons:
        table.add_row(one.name, str(one.pairs), *_figures(one))
    return table


def _figures(one: Comparison) -> tuple[Any, ...]:
    decides = one.low > 0 or one.high < 0
    difference = f"{one.difference:+.3f}{' *' if decides else ''}"
    return f"{one.first:.3f}", f"{one.second:.3f}", difference, f"{one.low:+.3f} to {one.high:+.3f}"
