from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.evaluation.tasks import TASKS, TaskItem
from gradshield.evaluation.tasks.gsm8k import last_number, score_answer
from tests.evaluation.tasks.public_folder import write_jsonl


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is 18.", "18"),
        ("first 3, then 1,450,000 in all.", "1450000"),
        ("He earns $2,125.50.", "2125.50"),
        ("It falls to -10", "-10"),
        ("It falls to -$10.", "-10"),
        ("a balance of \u22123 euros", "-3"),
        ("16 - 3", "3"),
        ("16-3", "3"),
        ("5-10", "10"),
        ("(2)-4", "4"),
        ("= -4", "-4"),
        ("a .5 share", "0.5"),
        ("1, 2,3", "3"),
        ("12,34", "34"),
        ("**72** apples", "72"),
        ("2 * 9 = <<2*9=18>>18\n#### 18", "18"),
        ("3.0", "3"),
        ("20%", "20"),
    ],
)
def test_last_number(text: str, expected: str) -> None:
    assert last_number(text) == Decimal(expected)


@pytest.mark.parametrize("text", ["", "none at all", "-"])
def test_no_number(text: str) -> None:
    assert last_number(text) is None


@pytest.mark.parametrize(
    ("answer", "score"),
    [("It is 3.0", 1.0), ("$3.", 1.0), ("-3", 0.0), ("30", 0.0), ("three", 0.0)],
)
def test_an_answer_is_right_by_value(answer: str, score: float) -> None:
    assert score_answer(TaskItem("0", "?", "3"), answer).score == score


def test_target_is_the_number_after_the_marks(tmp_path: Path) -> None:
    rows = [
        {"question": "How many?", "answer": "2 + 3 = 5\n#### 1,005"},
        {"question": "How cold?", "answer": "#### -3"},
    ]
    write_jsonl(tmp_path / "gsm8k/test.jsonl", rows)
    items = TASKS["gsm8k"].items(tmp_path)
    assert [(item.prompt, item.target) for item in items] == [
        ("How many?", "1005"),
        ("How cold?", "-3"),
    ]


@pytest.mark.parametrize("answer", ["it is 5", "#### five"])
def test_an_answer_without_a_marked_number_is_named(tmp_path: Path, answer: str) -> None:
    path = write_jsonl(tmp_path / "own.jsonl", [{"question": "How many?", "answer": answer}])
    with pytest.raises(UserError, match="line 1 needs a number after ####"):
        TASKS["gsm8k"].items(path)
