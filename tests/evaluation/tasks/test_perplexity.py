from __future__ import annotations

import math
from pathlib import Path

import pytest

from gradshield.data import load_examples
from gradshield.errors import UserError
from gradshield.evaluation.tasks import TASKS, TaskItem
from tests.evaluation.tasks.public_folder import write_jsonl
from tests.tiny_models import chat_tokenizer, losses, tiny_llama, tiny_loaded

ROWS = [
    {
        "id": "long",
        "messages": [
            {"role": "user", "content": "Name a river."},
            {"role": "assistant", "content": "The Loire, and after it the Rhone and the Seine."},
        ],
    },
    {"instruction": "Hi", "input": "", "output": "Hello"},
    {"prompt": "Spell cat", "completion": "c, a, t"},
]


def test_perplexity_is_taken_over_all_response_tokens(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "held_out.jsonl", ROWS)
    task, counts = TASKS["perplexity"], list[int]()
    results = task.measure(tiny_loaded(), task.items(path), counts.append)
    examples = load_examples(path, chat_tokenizer()).examples
    means = losses(examples, tiny_llama())
    assert [result.id for result in results] == ["long", "1", "2"]
    assert [result.score for result in results] == pytest.approx(means, abs=1e-4)
    tokens = [example.response_tokens for example in examples]
    assert [result.weight for result in results] == tokens
    assert len(set(tokens)) > 1
    total = sum(mean * count for mean, count in zip(means, tokens, strict=True))
    assert task.summarise(results) == pytest.approx(math.exp(total / sum(tokens)), rel=1e-4)
    assert sum(counts) == 3
    assert not task.higher_is_better


def test_some_of_the_items_score_as_among_all(tmp_path: Path) -> None:
    task = TASKS["perplexity"]
    items = task.items(write_jsonl(tmp_path / "held_out.jsonl", ROWS))
    both = task.measure(tiny_loaded(), items, lambda count: None)
    alone = task.measure(tiny_loaded(), items[2:], lambda count: None)
    assert alone[0].id == both[2].id
    assert alone[0].score == pytest.approx(both[2].score, abs=1e-4)


def test_a_row_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "held_out.jsonl", [ROWS[1], {"texts": "no format"}])
    with pytest.raises(UserError, match=r"held_out\.jsonl, line 2 cannot be used \(missing_field"):
        TASKS["perplexity"].items(path)


def test_an_empty_response_is_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{**ROWS[1], "output": " "}])
    with pytest.raises(UserError, match=r"line 1 cannot be used \(empty_response"):
        TASKS["perplexity"].items(path)


def test_an_item_that_cannot_be_tokenised_is_named() -> None:
    item = TaskItem("broken", "", "", context='{"texts": "no format"}')
    with pytest.raises(UserError, match=r"held-out row broken cannot be used \(missing_field"):
        TASKS["perplexity"].measure(tiny_loaded(), [item], lambda count: None)


def test_a_folder_is_no_data_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one data file of yours"):
        TASKS["perplexity"].items(tmp_path)
