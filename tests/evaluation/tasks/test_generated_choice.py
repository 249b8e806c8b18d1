from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.evaluation.tasks import TASKS, generated
from gradshield.evaluation.tasks.generated_choice import leading_label, standalone_letter
from tests.evaluation.tasks.public_folder import (
    arc_question,
    fixed_answers,
    sentiment,
    write_jsonl,
)
from tests.tiny_models import tiny_loaded

NEWS = ("World", "Sports", "Business", "Sci/Tech")
LETTERS = ("A", "B", "C", "D")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Sports", "Sports"),
        ("sci/tech.", "Sci/Tech"),
        ("**Business** news", "Business"),
        (' "World"', "World"),
        ("Worldwide", ""),
        ("The category is Sports", ""),
        ("", ""),
    ],
)
def test_label_at_the_beginning(answer: str, expected: str) -> None:
    assert leading_label(answer, NEWS) == expected


def test_of_labels_that_begin_alike_the_longer_one_is_read() -> None:
    assert leading_label("not good at all", ("not", "not good")) == "not good"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("B", "B"),
        ("(C) because it moves", "C"),
        ("The answer is D.", "D"),
        ("b.", "B"),
        ("It is a horse: C", "C"),
        ("B or C", "B"),
        ("Because of A's weight, D", "D"),
        ("E", ""),
        ("a horse", ""),
        ("Don't know. AB", ""),
        ("", ""),
    ],
)
def test_first_letter_that_stands_alone(answer: str, expected: str) -> None:
    assert standalone_letter(answer, LETTERS) == expected


def test_generated_labels_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"good": "Positive!", "bad": "positive", "odd": "Well, negative"}
    rows = [sentiment("good", "positive"), sentiment("bad", "negative")]
    rows.append(sentiment("odd", "negative"))
    write_jsonl(tmp_path / "sst2/test.jsonl", rows)
    prompts = {f"Positive or negative?\n\n{text}": said for text, said in answers.items()}
    monkeypatch.setattr(generated, "generate_answers", fixed_answers(prompts))
    task, counts = TASKS["sst2_generated"], list[int]()
    results = task.measure(tiny_loaded(), task.items(tmp_path), counts.append)
    assert [(r.score, r.prediction, r.answer) for r in results] == [
        (1.0, "positive", "Positive!"),
        (0.0, "positive", "positive"),
        (0.0, "", "Well, negative"),
    ]
    assert counts == [3]
    assert task.summarise(results) == pytest.approx(1 / 3)


def test_generated_letters_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(tmp_path / "arc/ARC-Easy-test.jsonl", [arc_question("3", ["1", "2", "3", "4"])])
    task = TASKS["arc_easy_generated"]
    (item,) = task.items(tmp_path)
    monkeypatch.setattr(generated, "generate_answers", fixed_answers({item.prompt: "C. horse"}))
    (result,) = task.measure(tiny_loaded(), [item], lambda count: None)
    assert (result.id, result.score, result.prediction) == ("q3", 1.0, "C")


def test_answers_are_the_models_own(tmp_path: Path) -> None:
    """Without any stand-in: a random model's babble names no label."""
    write_jsonl(tmp_path / "sst2/test.jsonl", [sentiment("good", "positive")])
    task = TASKS["sst2_generated"]
    results = task.measure(tiny_loaded(), task.items(tmp_path), lambda count: None)
    assert [(r.score, r.prediction) for r in results] == [(0.0, "")]
    assert results[0].answer
