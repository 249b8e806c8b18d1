from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gradshield.benchmark.reliability.determinism import Arrangement, DeterminismReport
from gradshield.benchmark.reliability.kills import KillReport
from gradshield.benchmark.reliability.memory import MemoryReport, Stage
from gradshield.benchmark.reliability.stand_ins import save_stand_in_model, write_short_rows
from gradshield.benchmark.studies import reliability
from gradshield.progress import Silent
from gradshield.run.folder import RunFolder
from gradshield.run.outputs import read_outputs

KILLS = KillReport(trials=reliability.TRIALS)
SPREAD = DeterminismReport(40, 5, 1e-6, Arrangement(1), 0.0, 0, 0, repeats=True)


def memory(rows: int, peak: int | None) -> MemoryReport:
    return MemoryReport(rows, "jsonl", {"imports": Stage(1.0, 10**8), "score": Stage(9.0, peak)})


def measured(
    monkeypatch: pytest.MonkeyPatch, kills: KillReport, peak: int | None, spread: DeterminismReport
) -> tuple[list[str], list[str]]:
    """Bars that hold, and bars that do not, of a study that measured this."""
    monkeypatch.setattr(reliability, "kill_trials", lambda *arguments: kills)
    monkeypatch.setattr(reliability, "measure_memory", lambda rows, kind: memory(rows, peak))
    spreads = dict.fromkeys(reliability.ENGINES, spread)
    monkeypatch.setattr(reliability, "_spreads", lambda progress: spreads)
    result = reliability.run(Path("absent"), Silent())
    assert [row["measured"] for row in result.rows].count("memory") == 2 * len(reliability.ROWS)
    bars = result.bars
    return [bar.name for bar in bars if bar.holds], [bar.name for bar in bars if not bar.holds]


def test_all_bars_hold_where_nothing_went_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    holding, failing = measured(monkeypatch, KILLS, 10**9, SPREAD)
    assert failing == []
    assert len(holding) == 2 + 2 + 2 * len(reliability.ENGINES)


def test_whatever_went_wrong_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    kills = replace(KILLS, differing=["run 3: kept.jsonl"])
    spread = replace(SPREAD, score_difference=0.1, rows_moved=1)
    holding, failing = measured(monkeypatch, kills, 3 * 10**9, spread)
    assert holding == ["runs that were killed"]
    assert len(failing) == 1 + 2 + 2 * len(reliability.ENGINES)


def test_memory_that_the_system_does_not_tell_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    holding, failing = measured(monkeypatch, KILLS, None, SPREAD)
    assert not any("memory" in name for name in [*holding, *failing])


def test_the_run_that_is_killed_divides_its_rows(tmp_path: Path) -> None:
    write_short_rows(tmp_path / "data.jsonl", 30, "jsonl")
    save_stand_in_model(tmp_path / "model")
    reliability.filter_quietly(
        tmp_path / "run", data=tmp_path / "data.jsonl", model=tmp_path / "model"
    )
    assert set(read_outputs(RunFolder(tmp_path / "run"))["files"]) == {
        "kept.jsonl",
        "removed.jsonl",
        "rejected.jsonl",
    }
    assert (tmp_path / "run" / "removed.jsonl").read_bytes().count(b"\n") > 5
