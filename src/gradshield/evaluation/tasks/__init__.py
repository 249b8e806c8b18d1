"""Utility tasks: how useful a model is, beside how safe."""

from __future__ import annotations

from gradshield.errors import UserError
from gradshield.evaluation.tasks.arithmetic import ARITHMETIC
from gradshield.evaluation.tasks.base import ItemResult, Task, TaskItem
from gradshield.evaluation.tasks.choices import CHOICE_SETS
from gradshield.evaluation.tasks.classification import LikelihoodChoice
from gradshield.evaluation.tasks.generated_choice import (
    generated_choice,
    leading_label,
    standalone_letter,
)
from gradshield.evaluation.tasks.gsm8k import GSM8K
from gradshield.evaluation.tasks.lm_eval import HARNESS_PREFIX, HarnessTask
from gradshield.evaluation.tasks.perplexity import PERPLEXITY
from gradshield.evaluation.tasks.samsum import SAMSUM
from gradshield.evaluation.tasks.sql import SQL

__all__ = ["TASKS", "ItemResult", "Task", "TaskItem", "task_by_name"]

_TASKS: tuple[Task, ...] = (
    LikelihoodChoice("sst2", CHOICE_SETS["sst2"]),
    LikelihoodChoice("agnews", CHOICE_SETS["agnews"]),
    LikelihoodChoice("arc_easy", CHOICE_SETS["arc_easy"]),
    LikelihoodChoice("arc_challenge", CHOICE_SETS["arc_challenge"]),
    generated_choice("sst2_generated", CHOICE_SETS["sst2"], leading_label, 8),
    generated_choice("agnews_generated", CHOICE_SETS["agnews"], leading_label, 8),
    generated_choice("arc_easy_generated", CHOICE_SETS["arc_easy"], standalone_letter, 16),
    generated_choice(
        "arc_challenge_generated", CHOICE_SETS["arc_challenge"], standalone_letter, 16
    ),
    ARITHMETIC,
    GSM8K,
    SAMSUM,
    SQL,
    PERPLEXITY,
)
TASKS: dict[str, Task] = {task.name: task for task in _TASKS}
"""By name, in the order in which they are shown."""


def task_by_name(name: str) -> Task:
    """A task of `TASKS`, or a task of the evaluation harness as `harness:TASK`.

    Raises:
        UserError: There is no such task.
    """
    if name.startswith(HARNESS_PREFIX):
        return HarnessTask(name.removeprefix(HARNESS_PREFIX))
    if name not in TASKS:
        raise UserError(
            f"Unknown task {name}: choose of {', '.join(TASKS)}, or {HARNESS_PREFIX}TASK for one "
            "of the EleutherAI evaluation harness."
        )
    return TASKS[name]
