"""GSM8K (Cobbe et al. 2021): grade-school mathematics, the last number of the answer counts."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

from gradshield.evaluation.tasks.base import TaskItem
from gradshield.evaluation.tasks.generated import GeneratedTask, Scored
from gradshield.evaluation.tasks.rows import TaskRow, task_rows

PUBLIC_FILE = "gsm8k/test.jsonl"
MAX_NEW_TOKENS = 256
_NUMBER = re.compile(
    # After a digit, a word or a bracket, or before a space, a minus subtracts or joins.
    r"(?P<sign>(?<![\w)\]])[-\u2212])?\$?(?P<digits>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?"
    r"|\d+(?:\.\d+)?|\.\d+)"
)


def last_number(text: str) -> Decimal | None:
    """The last number in a text, or None.

    Commas between thousands, a dollar sign, a minus sign and decimals belong to it; a full stop
    after it does not.
    """
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    value = Decimal(found[-1]["digits"].replace(",", ""))
    return -value if found[-1]["sign"] else value


def score_answer(item: TaskItem, answer: str) -> Scored:
    """1 where the last number of the answer is the target by value (3.0 is 3), else 0."""
    number = last_number(answer)
    return Scored(float(number == Decimal(item.target)), "" if number is None else str(number))


def read_items(source: Path) -> list[TaskItem]:
    """Questions, with the number after `####` of the worked answer as the target."""
    return [_item(row) for row in task_rows(source, PUBLIC_FILE)]


def _item(row: TaskRow) -> TaskItem:
    _, marker, result = row.text("answer").rpartition("####")
    number = last_number(result) if marker else None
    if number is None:
        raise row.fault("needs a number after #### at the end of its field 'answer'")
    return TaskItem(row.id, row.text("question"), str(number))


GSM8K = GeneratedTask("gsm8k", "exact match", read_items, score_answer, MAX_NEW_TOKENS)
