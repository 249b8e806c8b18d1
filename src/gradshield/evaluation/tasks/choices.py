"""Items of tasks with a choice of answers: SST-2, AG News and ARC."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gradshield.evaluation.tasks.base import TaskItem
from gradshield.evaluation.tasks.rows import TaskRow, task_rows

ARC_REQUEST = "Answer with the letter of the right choice only."


@dataclass(frozen=True)
class ChoiceSet:
    """Where the items of a task with choices come from, and how a row is read."""

    public_file: str
    read: Callable[[TaskRow], TaskItem]

    def items(self, source: Path) -> list[TaskItem]:
        """All items; errors as `gradshield.evaluation.tasks.base.Task.items`."""
        return [self.read(row) for row in task_rows(source, self.public_file)]


def labelled_item(row: TaskRow, labels: tuple[str, ...]) -> TaskItem:
    """An instruction row whose output is one of a few labels.

    Raises:
        UserError: A field is missing, or the output is none of the labels.
    """
    target = row.text("output")
    if target not in labels:
        raise row.fault(f"has the output {target!r}, which is none of {', '.join(labels)}")
    return TaskItem(row.id, row.instruction(), target, labels)


def arc_item(row: TaskRow) -> TaskItem:
    """A question of ARC (Clark et al. 2018), its choices shown as A, B, C, ... in their order.

    Some rows label their choices by numbers; all are shown by letters.

    Raises:
        UserError: The question, the choices or the answer key are missing or do not fit together.
    """
    texts, labels = _arc_choices(row)
    letters = tuple(string.ascii_uppercase[: len(texts)])
    key = row.text("answerKey")
    if key not in labels:
        raise row.fault(f"has the answerKey {key!r}, which labels none of its choices")
    options = "\n".join(f"{letter}. {text}" for letter, text in zip(letters, texts, strict=True))
    prompt = f"{row.text('question')}\n\n{options}\n\n{ARC_REQUEST}"
    return TaskItem(row.id, prompt, letters[labels.index(key)], letters)


def _arc_choices(row: TaskRow) -> tuple[list[str], list[str]]:
    choices: Any = row.fields.get("choices")
    fields: dict[str, Any] = choices if isinstance(choices, dict) else {}
    texts: Any = fields.get("text")
    labels: Any = fields.get("label")
    fitting = isinstance(texts, list) and isinstance(labels, list) and len(texts) == len(labels)
    if not fitting or not 2 <= len(texts) <= len(string.ascii_uppercase):
        raise row.fault("needs a field 'choices' with two lists of one length, text and label")
    return [str(text).strip() for text in texts], [str(label).strip() for label in labels]


CHOICE_SETS = {
    "sst2": ChoiceSet("sst2/test.jsonl", partial(labelled_item, labels=("negative", "positive"))),
    "agnews": ChoiceSet(
        "agnews/test_first1000.jsonl",
        partial(labelled_item, labels=("World", "Sports", "Business", "Sci/Tech")),
    ),
    "arc_easy": ChoiceSet("arc/ARC-Easy-test.jsonl", arc_item),
    "arc_challenge": ChoiceSet("arc/ARC-Challenge-test.jsonl", arc_item),
}
"""By name of the task."""
