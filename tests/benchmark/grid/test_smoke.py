"""The configuration `smoke` on the built-in model, with invented public data."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gradshield.benchmark.grid.config import read_config
from gradshield.benchmark.grid.run import run_grid
from gradshield.benchmark.grid.table_text import as_text
from gradshield.progress import Silent

SMOKE = Path(__file__).parents[3] / "benchmarks" / "configs" / "smoke.yaml"


@pytest.mark.slow
def test_the_smoke_grid_runs_from_end_to_end(public: Path, tmp_path: Path) -> None:
    path = run_grid(read_config(SMOKE), public, tmp_path, Silent())
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = {
        row["filter"]: float(row["average_precision"])
        for row in rows
        if row["level"] == "scores" and row["attack"] == "explicit"
    }
    assert found["oracle"] == 1.0
    assert found["gradshield"] > found["random"]
    finetuned = {row["filter"]: row for row in rows if row["level"] == "finetune"}
    assert set(finetuned) == {"none", "oracle", "gradshield"}
    # Utility on problems that the model has hardly been trained on may be anything.
    assert all(0 <= float(row["utility"]) <= 1 for row in finetuned.values())
    assert "### finetunes" in as_text([tmp_path], [])
