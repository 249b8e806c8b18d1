"""What a run withstands and what it takes: kills, a million rows, other batches and orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from gradshield.benchmark.reliability.determinism import (
    TOLERANCES,
    Arrangement,
    DeterminismReport,
    score_spread,
)
from gradshield.benchmark.reliability.kills import KillReport, kill_trials
from gradshield.benchmark.reliability.memory import MemoryReport, measure_memory
from gradshield.benchmark.reliability.stand_ins import Kind, save_stand_in_model, write_short_rows
from gradshield.benchmark.result import Bar, StudyResult
from gradshield.benchmark.studies.demo import DATA
from gradshield.config import ModelSettings, RunConfig, ScoringSettings, ThresholdSettings
from gradshield.data import load_examples
from gradshield.models.load import load_model
from gradshield.progress import Progress, Silent
from gradshield.run.filter import filter_data
from gradshield.run.folder import RunFolder
from gradshield.run.source import open_input
from gradshield.scoring.reference import reference_examples
from gradshield.scoring.score import prepare_engine
from gradshield.shield import GradShield

TRIALS, KILL_SEED = 100, 0
KILLED_ROWS = 300
"""Three parts, the last of them short."""
ROWS = (10_000, 100_000, 1_000_000)
MOST_BYTES = 2 * 10**9
DEMO_ROWS = 40
ENGINES = ("finite_difference", "jvp")
ARRANGEMENTS = (
    Arrangement(batch_tokens=1024),
    Arrangement(batch_tokens=1),
    Arrangement(batch_tokens=4096, order=1),
    Arrangement(batch_tokens=512, order=2, shards=3),
    Arrangement(batch_tokens=1024, threads=1),
)


def run(public_data: Path, progress: Progress) -> StudyResult:
    """Kill runs, fill memory with rows, and score rows in several arrangements."""
    kills = _kills(progress)
    memory = [_memory(rows, kind, progress) for kind in get_args(Kind) for rows in ROWS]
    spread = _spreads(progress)
    rows: list[dict[str, Any]] = [
        {"measured": "kills", **asdict(kills)},
        *({"measured": "memory", **asdict(report)} for report in memory),
        *(
            {"measured": "determinism", "engine": engine, **asdict(report)}
            for engine, report in spread.items()
        ),
    ]
    return StudyResult(rows, _bars(kills, memory, spread), seeds=(KILL_SEED,))


def _kills(progress: Progress) -> KillReport:
    """A whole `filter` with an untrained model, killed and started again."""
    progress.say(f"Killing {TRIALS} runs")
    with TemporaryDirectory(prefix="gradshield-") as scratch:
        place = Path(scratch)
        write_short_rows(place / "data.jsonl", KILLED_ROWS, "jsonl")
        save_stand_in_model(place / "model")
        start = partial(filter_quietly, data=place / "data.jsonl", model=place / "model")
        return kill_trials(start, place / "run", TRIALS, KILL_SEED)


def filter_quietly(folder: Path, *, data: Path, model: Path) -> None:
    """What is killed: `filter` of a file with a model, on one thread."""
    filter_data(_config(data, model), RunFolder(folder), _Quiet())


def _config(data: Path, model: Path) -> RunConfig:
    return RunConfig(
        data_path=str(data),
        model=ModelSettings(name=str(model), dtype="float32", device="cpu"),
        # The scores of an untrained model say nothing: half of the rows are removed.
        threshold=ThresholdSettings(rule="calibrated", level=0.5),
    )


class _Quiet(Silent):
    """Says nothing, of what an untrained model is worth either."""

    def warn(self, line: str) -> None:
        """Drop the line."""


def _memory(rows: int, kind: Kind, progress: Progress) -> MemoryReport:
    progress.say(f"Running on {rows} rows of {kind}")
    return measure_memory(rows, kind)


def _spreads(progress: Progress) -> dict[str, DeterminismReport]:
    """By engine, rows of the demo as the built-in model scores them in several arrangements."""
    config = RunConfig(data_path=str(DATA), model=ModelSettings(dtype="float32"))
    loaded = load_model(**config.model.model_dump(), say=progress.say)
    shield = GradShield(loaded.model, loaded.tokenizer, progress=progress)
    data = load_examples(open_input(config, progress), loaded.tokenizer, **dict(config.data))
    step = max(1, len(data.examples) // DEMO_ROWS)
    examples, reference = data.examples[::step][:DEMO_ROWS], reference_examples(loaded)[::4]
    found = {}
    for name in ENGINES:
        progress.say(f"Scoring {len(examples)} rows in {len(ARRANGEMENTS)} arrangements: {name}")
        settings = ScoringSettings(engine=name)
        engine = prepare_engine(loaded, shield.direction, settings, progress)
        found[name] = score_spread(loaded, examples, engine, ARRANGEMENTS, reference)
    return found


def _bars(
    kills: KillReport, memory: Sequence[MemoryReport], spread: dict[str, DeterminismReport]
) -> list[Bar]:
    bars = [
        Bar("runs that were killed", kills.trials, ">=", TRIALS),
        Bar("faults after a kill: files, drafts, records, restarts", len(kills.faults), "<=", 0),
    ]
    for report in memory:
        if report.rows == max(ROWS) and report.peak_bytes is not None:
            name = f"resident memory of {report.rows} rows of {report.kind}, bytes"
            bars.append(Bar(name, report.peak_bytes, "<=", MOST_BYTES))
    for engine, found in spread.items():
        name = f"greatest difference of a score, in standard deviations, {engine}"
        bars.append(Bar(name, found.score_difference, "<=", TOLERANCES[engine]))
        bars.append(Bar(f"rows that changed sides, {engine}", found.rows_moved, "<=", 0))
    return bars
