from __future__ import annotations

import re
from pathlib import Path

import pytest

from gradshield.evaluation.tasks import TASKS
from gradshield.evaluation.tasks.arithmetic import TEST_PROBLEMS, training_problems
from gradshield.evaluation.tasks.gsm8k import score_answer
from tests.evaluation.tasks.public_folder import write_jsonl


def test_worked_answers_are_right() -> None:
    for problem in training_problems(1000):
        found = re.search(r"(\d+) (.) (\d+) = (\d+)", problem.answer)
        assert found is not None
        a, sign, b, result = found.groups()
        expected = {"+": int(a) + int(b), "-": int(a) - int(b), "x": int(a) * int(b)}[sign]
        assert int(result) == problem.result == expected > 0
        assert {a, b} <= set(re.findall(r"\d+", problem.question))


def test_a_right_answer_scores_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    item = TASKS["arithmetic"].items(tmp_path)[0]
    assert score_answer(item, f"That makes {item.target}.").score == 1.0
    assert score_answer(item, f"That makes {item.target}1.").score == 0.0


def test_test_problems_are_not_trained_on(tmp_path: Path) -> None:
    items = TASKS["arithmetic"].items(tmp_path)
    trained = {problem.question for problem in training_problems(1000)}
    assert len({item.prompt for item in items}) == TEST_PROBLEMS
    assert not trained & {item.prompt for item in items}


def test_more_problems_than_there_are() -> None:
    with pytest.raises(ValueError, match="not 100000"):
        training_problems(100_000)


def test_a_file_takes_the_place_of_the_made_problems(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "own.jsonl", [{"question": "2 + 2?", "answer": "#### 4"}])
    items = TASKS["arithmetic"].items(path)
    assert [(item.prompt, item.target) for item in items] == [("2 + 2?", "4")]
