from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from gradshield.benchmark.grid.table_text import TABLES, as_markdown, as_text
from gradshield.errors import UserError


def test_markdown_by_hand() -> None:
    table = pd.DataFrame({"x": [0.5, float("nan")]}, index=pd.Index(["a", "b"], name="filter"))
    assert as_markdown(table, 2) == "| filter | x |\n| --- | ---: |\n| a | 0.50 |\n| b | - |\n"


def test_all_tables_with_rows_are_shown(folder: Path) -> None:
    text = as_text([folder], [])
    assert "### average_precision" in text
    assert "### attacks_search" not in text


def test_unknown_tables_and_missing_results_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Unknown table none: choose of average_precision"):
        as_text([folder], ["none"])
    with pytest.raises(UserError, match="benchmark run"):
        as_text([tmp_path / "nowhere"], [])


def test_every_table_of_a_whole_grid(finished: Path) -> None:
    text = as_text([finished], [])
    # One seed has no spread, and two shares of it have, beside the oracle's.
    assert all((f"### {name}\n" in text) == (name != "seeds") for name in TABLES)
