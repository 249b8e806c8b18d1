from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gradshield.evaluation.tasks import TASKS, TaskItem
from gradshield.evaluation.tasks.base import ItemResult
from gradshield.evaluation.tasks.classification import choice_log_likelihoods
from gradshield.models.prompts import prompt_token_ids
from tests.evaluation.tasks.public_folder import sentiment, write_jsonl
from tests.tiny_models import chat_tokenizer, tiny_loaded

TEXTS = ["good film .", "dull", "it is what it is , and goes on", "fine , fine", "no", "yes"]


def by_hand(item: TaskItem) -> list[float]:
    """Each choice alone, from all logits: log p of its tokens and of the end of the turn."""
    loaded, tokenizer = tiny_loaded(), chat_tokenizer()
    prompt = prompt_token_ids(tokenizer, item.prompt)
    found = []
    for choice in item.choices:
        after = [*tokenizer(choice, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logits = loaded.model(torch.tensor([prompt + after])).logits[0].log_softmax(-1)
        start = len(prompt) - 1
        found.append(sum(float(logits[start + place, token]) for place, token in enumerate(after)))
    return found


def test_likelihood_is_that_of_the_whole_choice_and_the_end_of_the_turn() -> None:
    item = TaskItem("0", "Good or not?", "no", ("no", "yes, it is rather good", "perhaps"))
    assert choice_log_likelihoods(tiny_loaded(), item) == pytest.approx(by_hand(item), abs=1e-3)


def test_the_likeliest_choice_is_the_prediction(tmp_path: Path) -> None:
    rows = [sentiment(text, "positive") for text in TEXTS] + [sentiment("dull", "negative")]
    write_jsonl(tmp_path / "sst2/test.jsonl", rows)
    task = TASKS["sst2"]
    items = task.items(tmp_path)
    counts: list[int] = []
    results = task.measure(tiny_loaded(), items, counts.append)
    expected = []
    for item in items:
        negative, positive = by_hand(item)
        expected.append("positive" if positive > negative else "negative")
    assert [result.prediction for result in results] == expected
    assert [result.id for result in results] == [str(place) for place in range(7)]
    scores = [float(made == row["output"]) for made, row in zip(expected, rows, strict=True)]
    assert [result.score for result in results] == scores
    # The same text with either label: one of the two is right.
    assert results[1].score + results[6].score == 1
    assert sum(counts) == 7
    assert task.summarise(results) == pytest.approx(sum(scores) / 7)
    assert task.metric == "accuracy"


def test_of_equal_choices_the_first_wins() -> None:
    item = TaskItem("0", "Same?", "second", ("same", "same"))
    (result,) = TASKS["sst2"].measure(tiny_loaded(), [item], lambda count: None)
    assert result == ItemResult("0", 0.0, "same", "")


def test_no_results_have_no_accuracy() -> None:
    with pytest.raises(ValueError, match="not defined"):
        TASKS["sst2"].summarise([])
