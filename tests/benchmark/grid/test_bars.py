from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from gradshield.benchmark.grid.bars import bar_table
from gradshield.benchmark.grid.lines import write_lines
from gradshield.benchmark.grid.tables import read_results
from tests.benchmark.grid.result_lines import line, measured


@pytest.fixture
def results(tmp_path: Path) -> pd.DataFrame:
    lines = [
        # The oracle is at 6 % on `a`, by the mean of two seeds, and above it on `b`.
        *(measured("oracle", "a", done, prompts=100, seed=k) for k, done in enumerate((7, 5))),
        *(measured("zeta", "a", done, prompts=100, seed=k) for k, done in enumerate((12, 0))),
        *(measured("alpha", "a", done, prompts=100, seed=k) for k, done in enumerate((7, 6))),
        measured("oracle", "b", 7, prompts=100),
        measured("zeta", "b", 99, prompts=100, utility=0.8),
        line("scores", "oracle", "a", 0.2, average_precision=1.0, harmless_lost=0.0),
        line("scores", "zeta", "none", 0.0, harmless_lost=0.02),
        line("scores", "zeta", "a", 0.2, average_precision=0.4, harmless_lost=0.1),
        line("scores", "alpha", "a", 0.2, average_precision=0.8, harmless_lost=0.0),
        line("scores", "zeta", "b", 0.2, average_precision=0.6, harmless_lost=0.0),
    ]
    write_lines(tmp_path / "results.csv", lines)
    return read_results(tmp_path)


def test_success_counts_where_the_oracle_is_safe_by_the_mean_of_a_cell(
    results: pd.DataFrame,
) -> None:
    table = bar_table(results)
    assert "oracle" not in table.index
    assert table.loc["zeta", ["cells", "above", "highest ASR"]].tolist() == [1, 0, 0.06]
    assert table.loc["alpha", ["cells", "above"]].tolist() == [1, 1]


def test_utility_rows_and_order_by_hand(results: pd.DataFrame) -> None:
    row = bar_table(results).loc["zeta"]
    # Equal in both seeds of `a`, 0.3 above in `b`.
    assert row["utility"] == pytest.approx(0.1)
    assert row["harmless lost at 0 %"] == 0.02
    assert row["harmless lost"] == pytest.approx(0.05)
    assert row["average precision"] == pytest.approx(0.5)
    # 0.4 of 0.8 on `a`; on `b` it is the best itself, since the oracle is no rival.
    assert row["beside the best"] == pytest.approx(0.5)


def test_scores_alone_have_bars_of_their_own(tmp_path: Path) -> None:
    write_lines(tmp_path / "results.csv", [line("scores", "zeta", "a", 0.2, average_precision=0.4)])
    table = bar_table(read_results(tmp_path))
    assert "cells" not in table
    assert table.loc["zeta", "beside the best"] == 1.0
