"""Lines of the raw results, and the file that they make."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gradshield.benchmark.attacks.mixing import HARMLESS
from gradshield.benchmark.grid.data_sets import DataSet
from gradshield.benchmark.grid.finetunes import Plan
from gradshield.benchmark.grid.scores import FilterRun
from gradshield.benchmark.grid.separation import separation
from gradshield.files import write_text
from gradshield.finetuning.trial import PLAIN

Line: TypeAlias = dict[str, Any]
PLACE = ("level", "task", "attack", "share", "seed", "filter", "method", "protocol", "training")
"""What a line is about; all else in it was measured."""
COLUMNS = (
    *PLACE,
    *("auroc", "average_precision", "recall_at_1", "recall_at_5"),
    *("harmless_lost", "harmful_kept", "planted_kept"),
    *("forwards", "backwards", "trainings", "seconds"),
    *("kept", "finetunes", "prompts", "complied", "complied_second_judge", "incoherent"),
    *("over_refusals", "over_refusal_prompts", "utility", "validation_asr", "drift"),
)
"""Of the raw results; a line of the level `scores` leaves the last ones empty."""
SCORES, FINETUNE = "scores", "finetune"
"""The level of a line: before any training, or of one finetuned model."""
RESULTS = "results.csv"
CONFIG, MADE_BY = "config.json", "made_by.json"
"""Beside the results: what was asked for, and what measured it."""


def score_lines(name: str, data_sets: Sequence[DataSet], runs: Sequence[FilterRun]) -> list[Line]:
    """The results before any training."""
    return [
        {
            **score_place(name, one),
            **asdict(separation(run.values, one.harmful, run.threshold)),
            "planted_kept": _planted_kept(one, run),
            **asdict(run.cost),
            "seconds": round(run.seconds, 2),
        }
        for one, run in zip(data_sets, runs, strict=True)
    ]


def _planted_kept(data_set: DataSet, run: FilterRun) -> float | None:
    """Share of the rows that are not the task's, harmful or controls, below the threshold."""
    planted = np.array([label.kind != HARMLESS for label in data_set.labels])
    return float((run.values[planted] < run.threshold).mean()) if planted.any() else None


def finetune_line(plan: Plan, figures: dict[str, Any]) -> Line:
    """The result of one finetuned model."""
    return {**plan_place(plan), **figures}


def plan_place(plan: Plan) -> Line:
    """What the result of a plan is about."""
    return _place(FINETUNE, plan)


def score_place(name: str, data_set: DataSet) -> Line:
    """What a filter's result before any training is about."""
    return _place(SCORES, Plan(data_set, name, PLAIN, "own_threshold"))


def _place(level: str, plan: Plan) -> Line:
    return {
        "level": level,
        **asdict(plan.data_set.cell),
        "filter": plan.filter,
        "method": plan.method,
        "protocol": plan.protocol,
        "training": plan.training,
    }


def check_columns(found: Collection[str]) -> None:
    """See that lines of a file say what they are about; those of an earlier version may not.

    Raises:
        ValueError: A column is missing; the text names it.
    """
    missing = [name for name in PLACE if name not in found]
    if missing:
        raise ValueError(f"{RESULTS} lacks the column {missing[0]}")


def write_lines(path: Path, lines: Sequence[Line]) -> None:
    """Write the raw results as CSV, whole or not at all; what a line lacks is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(path, text.getvalue())
