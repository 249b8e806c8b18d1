"""The memory of a run by its number of rows, in a process of its own and with a stand-in model."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from gradshield.benchmark.memory import peak_memory
from gradshield.benchmark.reliability.stand_ins import (
    Kind,
    harmless_lines,
    stand_in_lines,
    stand_in_tokenizer,
    write_short_rows,
)
from gradshield.config import ModelSettings, RunConfig
from gradshield.data import DataSource
from gradshield.data.survey import Survey
from gradshield.progress import Silent
from gradshield.run.apply import apply
from gradshield.run.folder import RunFolder, write_json
from gradshield.run.provenance import chosen_identity, run_record, tokenizer_sha256
from gradshield.run.reading import read_rows
from gradshield.run.report import write_report
from gradshield.run.source import open_input
from gradshield.run.summary import write_summary
from gradshield.run.threshold import threshold
from gradshield.scoring.executors import LocalExecutor, Work
from gradshield.scoring.parts import account_of, cut_into_parts
from gradshield.scoring.reference import reference_examples_for
from gradshield.scoring.table import write_part

T = TypeVar("T")


@dataclass(frozen=True)
class Stage:
    """What a step of a run took.

    Attributes:
        seconds: Wall clock.
        peak_bytes: Resident memory of the whole process at its peak; None where the system does
            not tell.
    """

    seconds: float
    peak_bytes: int | None


@dataclass(frozen=True)
class MemoryReport:
    """What a run of so many short rows took.

    Attributes:
        rows: Number of rows.
        kind: Of the data file.
        stages: By name, in order; "imports" is what the process takes before it does anything.
    """

    rows: int
    kind: Kind
    stages: dict[str, Stage]

    @property
    def peak_bytes(self) -> int | None:
        """Resident memory at the peak of all stages."""
        peaks = [stage.peak_bytes for stage in self.stages.values()]
        known = [peak for peak in peaks if peak is not None]
        return max(known) if len(known) == len(peaks) else None


def measure_memory(rows: int, kind: Kind, *, with_report: bool = True) -> MemoryReport:
    """Run read, score, threshold, apply and report on so many rows, with a stand-in model.

    Args:
        rows: Number of rows, each a short text.
        kind: Of the data file.
        with_report: Whether to write the report too.
    """
    with TemporaryDirectory(prefix="gradshield-") as scratch:
        data = Path(scratch) / f"data.{kind}"
        write_short_rows(data, rows, kind)
        command = [sys.executable, "-m", __name__, str(data), str(int(with_report))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    stages = {name: Stage(**stage) for name, stage in json.loads(done.stdout).items()}
    return MemoryReport(rows, kind, stages)


class _Stages:
    """Runs one stage after the other, and keeps what each took."""

    def __init__(self) -> None:
        self.taken: dict[str, Stage] = {}

    def run(self, name: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        with peak_memory() as peak:
            outcome = work()
        self.taken[name] = Stage(time.perf_counter() - started, peak.total)
        return outcome


def run_stages(data: Path, with_report: bool) -> dict[str, Stage]:
    """What each stage of a run of `data` takes in this process; the run stands beside the data."""
    model, folder = data.parent / "model", RunFolder(data.parent / "run")
    config = RunConfig(data_path=str(data), model=ModelSettings(name=str(model)))
    stages = _Stages()
    stages.run("imports", lambda: None)
    tokenizer = stand_in_tokenizer()
    tokenizer.save_pretrained(model)

    def read() -> tuple[DataSource, Survey]:
        source = open_input(config, Silent())
        return source, read_rows(config, tokenizer, Silent(), source)

    source, survey = stages.run("read", read)

    def score() -> None:
        identity = {
            **chosen_identity(config, source),
            "tokenizer_sha256": tokenizer_sha256(tokenizer),
        }
        folder.claim(identity, run_record(source), force=False)
        folder.write_config(config)
        write_json(folder.engine, {"notes": ["stand-in: no model"], "warning": None})
        write_part(harmless_lines(reference_examples_for(tokenizer)), folder.reference)
        parts = cut_into_parts(survey.total, folder.scores, "stand-in")
        LocalExecutor().run(Work(survey, tokenizer, stand_in_lines), parts, Silent())
        write_json(folder.rejections, account_of(folder.scores).rejected)

    stages.run("score", score)
    stages.run("threshold", lambda: threshold(folder, config.threshold))
    stages.run("apply", lambda: apply(config, folder))
    if with_report:
        stages.run("summary", lambda: write_summary(config, folder))
        stages.run("report", lambda: write_report(config, folder))
    return stages.taken


if __name__ == "__main__":
    taken = run_stages(Path(sys.argv[1]), sys.argv[2] == "1")
    print(json.dumps({name: asdict(stage) for name, stage in taken.items()}))
