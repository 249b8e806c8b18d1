"""Training rows of each utility task, in the words in which the task is tested."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gradshield.benchmark.public_data import (
    arithmetic_rows,
    exchange,
    gsm8k_rows,
    task_rows,
)
from gradshield.data import Conversation
from gradshield.evaluation.tasks.choices import arc_item
from gradshield.evaluation.tasks.rows import task_rows as rows_of_file

ARITHMETIC_ROWS = 1000
TESTED_AT_THE_END = 200
"""Rows at the end of a training file that the tasks SAMSum and SQL are tested on."""


def _arc(name: str) -> Callable[[Path], list[Conversation]]:
    def read(folder: Path) -> list[Conversation]:
        items = [arc_item(row) for row in rows_of_file(folder, f"arc/{name}-train.jsonl")]
        return [exchange(item.prompt, item.target) for item in items]

    return read


TRAINING_ROWS: dict[str, Callable[[Path], list[Conversation]]] = {
    "sst2": lambda folder: task_rows(folder, "sst2"),
    "agnews": lambda folder: task_rows(folder, "agnews"),
    "arc_easy": _arc("ARC-Easy"),
    "arc_challenge": _arc("ARC-Challenge"),
    "gsm8k": gsm8k_rows,
    "arithmetic": lambda folder: arithmetic_rows(ARITHMETIC_ROWS),
    "samsum": lambda folder: task_rows(folder, "samsum")[:-TESTED_AT_THE_END],
    "sql": lambda folder: task_rows(folder, "sqlgen")[:-TESTED_AT_THE_END],
}
"""By name of the task in `gradshield.evaluation.tasks.TASKS`, from the folder of public data."""
