from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from gradshield.errors import UserError
from gradshield.evaluation.tasks import task_by_name
from gradshield.models.load import LoadedModel
from gradshield.models.prompts import prompt_token_ids
from tests.evaluation.tasks.public_folder import write_jsonl
from tests.tiny_models import chat_tokenizer, tiny_llama, tiny_loaded

ROWS = [
    {"question": f"Colour of {thing}?", "choices": ["red", "green", "blue"], "gold": gold}
    for thing, gold in [("grass", 1), ("sky", 2), ("blood", 0), ("sea", 2), ("leaf", 1)]
]
DEFINITION = """
task: tiny_colours
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: {output_type}
doc_to_text: "{{{{question}}}}"
doc_to_target: {target}
{rest}
"""
CHOICE = "doc_to_choice: choices\ntarget_delimiter: ''\nmetric_list:\n  - metric: acc"
PERPLEXITY = "metric_list:\n  - metric: perplexity"


def write_task(
    folder: Path, output_type: str = "multiple_choice", target: str = "gold", rest: str = CHOICE
) -> Path:
    data = write_jsonl(folder / "colours.jsonl", ROWS)
    path = folder / "tiny_colours.yaml"
    path.write_text(
        DEFINITION.format(data=data, output_type=output_type, target=target, rest=rest),
        encoding="utf-8",
    )
    return path


def by_hand(loaded: LoadedModel, row: dict[str, object]) -> list[float]:
    """Log-likelihood of every choice after the rendered question, from plain logits."""
    ids = prompt_token_ids(loaded.tokenizer, str(row["question"]))
    found = []
    for choice in ("red", "green", "blue"):
        after = loaded.tokenizer(choice, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = loaded.model(torch.tensor([ids + after])).logits[0].log_softmax(-1)
        places = range(len(ids) - 1, len(ids) + len(after) - 1)
        found.append(sum(float(logits[p, t]) for p, t in zip(places, after, strict=True)))
    return found


@pytest.fixture
def _harness() -> None:
    pytest.importorskip("lm_eval")


@pytest.mark.usefixtures("_harness")
def test_a_local_task_is_measured_item_by_item(tmp_path: Path) -> None:
    write_task(tmp_path)
    task, loaded = task_by_name("harness:tiny_colours"), tiny_loaded()
    items = task.items(tmp_path)
    assert [item.id for item in items] == [f"tiny_colours/{place}" for place in range(5)]
    likeliest = [max(range(3), key=by_hand(loaded, row).__getitem__) for row in ROWS]
    expected = [float(row["gold"] == best) for row, best in zip(ROWS, likeliest, strict=True)]
    counts: list[int] = []
    results = task.measure(loaded, items, counts.append)
    assert [result.score for result in results] == expected
    assert {result.note for result in results} == {"acc, none"}
    assert sum(counts) == 5
    assert task.summarise(results) == pytest.approx(sum(expected) / 5)
    chosen = [items[4], items[1]]
    again = task.measure(loaded, chosen, counts.append)
    assert again == [results[4], results[1]]


@pytest.mark.usefixtures("_harness")
def test_generated_answers_are_kept(tmp_path: Path) -> None:
    rest = "generation_kwargs:\n  until: []\n  max_gen_toks: 6\n  do_sample: false\n"
    rest += "metric_list:\n  - metric: exact_match"
    path = write_task(tmp_path, "generate_until", '"{{choices[gold]}}"', rest)
    task = task_by_name("harness:tiny_colours")
    result = task.measure(tiny_loaded(), task.items(path)[:1], lambda count: None)[0]
    ids = prompt_token_ids(chat_tokenizer(), str(ROWS[0]["question"]))
    for _ in range(6):
        with torch.no_grad():
            ids.append(int(tiny_llama()(torch.tensor([ids])).logits[0, -1].argmax()))
    assert result.answer.strip() == chat_tokenizer().decode(ids[-6:]).strip()
    assert result.score == 0
    assert result.note.startswith("exact_match")


@pytest.mark.usefixtures("_harness")
def test_a_task_without_a_metric_of_items_is_named(tmp_path: Path) -> None:
    write_task(tmp_path, "loglikelihood", '"{{choices[gold]}}"', PERPLEXITY)
    task = task_by_name("harness:tiny_colours")
    with pytest.raises(UserError, match="tiny_colours has no metric that scores single items"):
        task.measure(tiny_loaded(), task.items(tmp_path), lambda count: None)


@pytest.mark.usefixtures("_harness")
def test_an_unknown_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot load the task no_such_task"):
        task_by_name("harness:no_such_task").items(tmp_path)


def test_without_the_harness_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    for module in [name for name in sys.modules if name.startswith("lm_eval.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(UserError, match=r"pip install 'gradshield\[harness\]'"):
        task_by_name("harness:arc_easy").items(tmp_path)


def test_no_items_need_no_harness() -> None:
    assert task_by_name("harness:arc_easy").measure(tiny_loaded(), [], lambda count: None) == []
    with pytest.raises(ValueError, match="not defined"):
        task_by_name("harness:arc_easy").summarise([])
