"""Every table of the benchmark by name, and as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gradshield.benchmark.grid.bars import bar_table
from gradshield.benchmark.grid.tables import (
    Table,
    attack_table,
    control_table,
    cost_table,
    finetune_table,
    oracle_table,
    read_results,
    seed_table,
    separation_table,
    threshold_table,
)
from gradshield.errors import UserError

TABLES: dict[str, Callable[[Table], Table]] = {
    "average_precision": separation_table,
    "auroc": lambda results: separation_table(results, "auroc"),
    "recall_at_1": lambda results: separation_table(results, "recall_at_1"),
    "recall_at_5": lambda results: separation_table(results, "recall_at_5"),
    "thresholds": threshold_table,
    "controls": control_table,
    "cost": cost_table,
    "finetunes": finetune_table,
    "attacks_equal_share": lambda results: attack_table(results, "equal_share"),
    "attacks_own_threshold": lambda results: attack_table(results, "own_threshold"),
    "attacks_search": lambda results: attack_table(results, "search"),
    "seeds": seed_table,
    "beside_oracle": oracle_table,
    "bars": bar_table,
}
"""By name, in the order in which they are shown."""


def as_markdown(table: Table, digits: int = 3) -> str:
    """A table in GitHub's Markdown; what was not measured is a dash."""
    shown = table.reset_index()
    heads = [str(column) for column in shown.columns]
    body = [[_shown(value, digits) for value in row] for row in shown.itertuples(index=False)]
    numbers = [pd.api.types.is_numeric_dtype(shown[column]) for column in shown.columns]
    rule = ["---:" if number else "---" for number in numbers]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rule, *body]) + "\n"


def _shown(value: Any, digits: int) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def as_text(folders: Sequence[Path], names: Sequence[str]) -> str:
    """Tables of grids under their names, in Markdown.

    Args:
        folders: What `run_grid` wrote; the lines of all count alike.
        names: Of `TABLES`; none of them means all that have rows.

    Raises:
        UserError: There are no results, or no table of a name.
    """
    unknown = [name for name in names if name not in TABLES]
    if unknown:
        raise UserError(f"Unknown table {unknown[0]}: choose of {', '.join(TABLES)}.")
    results = read_results(*folders)
    tables = {name: TABLES[name](results) for name in names or TABLES}
    shown = {name: table for name, table in tables.items() if names or not table.empty}
    return "\n".join(f"### {name}\n\n{as_markdown(table)}" for name, table in shown.items())
