"""`gradshield benchmark`: a study's bars on the terminal, its result in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradshield.benchmark.grid.lines import write_lines
from gradshield.benchmark.result import Bar, StudyResult
from gradshield.benchmark.studies import STUDIES
from gradshield.progress import Progress
from tests.benchmark.grid.result_lines import line
from tests.cli.command_line import gradshield


def _study(public_data: Path, progress: Progress) -> StudyResult:
    progress.say(f"measuring {public_data}")
    bars = [Bar("speed", 2.0, "<=", 3.0), Bar("recall", 0.25, ">=", 0.5)]
    return StudyResult([{"public": str(public_data)}], bars)


def test_writes_the_result_and_shows_bars_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STUDIES, "demo", _study)
    outcome = gradshield(
        *("benchmark", "demo", "--public-data", tmp_path, "--out", tmp_path / "results")
    )
    assert outcome.code == 0
    assert "measuring" in outcome.err
    lines = {line.split("│")[1].strip(): line for line in outcome.out.splitlines() if "│" in line}
    assert "2.0000" in lines["speed"]
    assert "yes" in lines["speed"]
    assert "NO" in lines["recall"]
    written = json.loads((tmp_path / "results" / "demo.json").read_text())
    assert written["rows"] == [{"public": str(tmp_path)}]
    assert [bar["holds"] for bar in written["bars"]] == [True, False]


def test_unknown_study(tmp_path: Path) -> None:
    outcome = gradshield("benchmark", "no-such-study", "--out", tmp_path)
    assert outcome.code == 1
    assert "no-such-study" in outcome.err
    assert "benchmark" in outcome.err or "COMMAND --help" in outcome.err


def test_help_names_the_grid_and_every_study() -> None:
    outcome = gradshield("benchmark", "--help")
    assert outcome.code == 0
    assert all(name in outcome.out for name in ("run", "table", "plot", *STUDIES))


def test_missing_public_data_leaves_no_result(tmp_path: Path) -> None:
    outcome = gradshield("benchmark", "align", "--public-data", tmp_path, "--out", tmp_path)
    assert outcome.code == 1
    assert "--public-data" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_tables_count_in_the_results_of_another_run(tmp_path: Path) -> None:
    for name, attack, value in (("ours", "explicit", 0.5), ("theirs", "embedded", 1.0)):
        found = line("scores", "mean_loss", attack, 0.2, average_precision=value)
        write_lines(tmp_path / name / "results.csv", [found])
    beside = ("--beside", tmp_path / "theirs")
    outcome = gradshield("benchmark", "table", tmp_path / "ours", "average_precision", *beside)
    assert outcome.code == 0
    assert "| mean_loss | 0.500 | 1.000 | 0.750 |" in outcome.out
