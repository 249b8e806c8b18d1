from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from gradshield.errors import UserError
from gradshield.evaluation.tasks import lm_eval, task_by_name
from gradshield.models.load import LoadedModel
from gradshield.models.prompts import prompt_token_ids
from tests.evaluation.tasks.public_folder import write_jsonl
from tests.tiny_models import chat_tokenizer, tiny_llama, tiny_loaded

ROWS = [
    {"question": f"Colour of {thing}?", "choices": ["red", "green", "blue"], "gold": gold}
    for thing, gold in [("grass", 1), ("sky", 2), ("blood", 0), ("sea", 2), ("leaf", 1)]
]
DEFINITION = """
task: {name}
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
GENERATED = """
generation_kwargs:
  until: []
  max_gen_toks: 6
  do_sample: false
metric_list:
  - metric: exact_match
"""
PERPLEXITY = "metric_list:\n  - metric: perplexity"


def write_task(folder: Path, name: str, output_type: str, target: str, rest: str) -> None:
    data = write_jsonl(folder / "colours.jsonl", ROWS)
    text = DEFINITION.format(
        name=name, data=data, output_type=output_type, target=target, rest=rest
    )
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder with all tasks: the harness reads its own thousands of definitions but once."""
    pytest.importorskip("lm_eval")
    folder = tmp_path_factory.mktemp("definitions")
    said = '"{{choices[gold]}}"'
    write_task(folder, "tiny_colours", "multiple_choice", "gold", CHOICE)
    write_task(folder, "tiny_generated", "generate_until", said, GENERATED)
    write_task(folder, "tiny_perplexity", "loglikelihood", said, PERPLEXITY)
    return folder


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


def test_a_local_task_is_measured_item_by_item(definitions: Path) -> None:
    task, loaded = task_by_name("harness:tiny_colours"), tiny_loaded()
    items = task.items(definitions)
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


def test_generated_answers_are_kept(definitions: Path) -> None:
    task = task_by_name("harness:tiny_generated")
    result = task.measure(
        tiny_loaded(), task.items(definitions / "tiny_generated.yaml")[:1], lambda count: None
    )[0]
    ids = prompt_token_ids(chat_tokenizer(), str(ROWS[0]["question"]))
    for _ in range(6):
        with torch.no_grad():
            ids.append(int(tiny_llama()(torch.tensor([ids])).logits[0, -1].argmax()))
    assert result.answer.strip() == chat_tokenizer().decode(ids[-6:]).strip()
    assert result.score == 0
    assert result.note.startswith("exact_match")


def test_a_task_without_a_metric_of_items_is_named(definitions: Path) -> None:
    task = task_by_name("harness:tiny_perplexity")
    with pytest.raises(UserError, match="tiny_perplexity has no metric that scores single items"):
        task.measure(tiny_loaded(), task.items(definitions), lambda count: None)


def test_an_unknown_task_is_named(definitions: Path) -> None:
    with pytest.raises(UserError, match="cannot load the task no_such_task"):
        task_by_name("harness:no_such_task").items(definitions)


def test_without_the_harness_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    for module in [name for name in sys.modules if name.startswith("lm_eval.")]:
        monkeypatch.delitem(sys.modules, module)
    lm_eval._task_manager.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'gradshield\[harness\]'"):
        task_by_name("harness:arc_easy").items(tmp_path)


def test_no_items_need_no_harness() -> None:
    assert task_by_name("harness:arc_easy").measure(tiny_loaded(), [], lambda count: None) == []
    with pytest.raises(ValueError, match="not defined"):
        task_by_name("harness:arc_easy").summarise([])
