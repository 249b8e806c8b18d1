"""Masks of the TRL profile against those of `SFTTrainer`, run here on the same rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from gradshield.data import DataError, Rejection
from tests.data.profiles.cases import LONG, ONE, SIX, SYSTEM, TOUCHING, TWO, tokenizer, turns
from tests.data.profiles.golden import assert_same, ours, trained

trl = pytest.importorskip("trl")

Labels = Callable[..., dict[str, Any] | None]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer("plain")),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
        )
    )


@pytest.fixture
def theirs(model: LlamaForCausalLM, tmp_path: Path) -> Labels:
    """Tokens and labels that the trainer has made of one row, None if it dropped it."""

    def labels(row: dict[str, Any], name: str, **settings: Any) -> dict[str, Any] | None:
        trainer = trl.SFTTrainer(
            model,
            args=trl.SFTConfig(
                output_dir=str(tmp_path), report_to="none", use_cpu=True, bf16=False, **settings
            ),
            train_dataset=Dataset.from_list([row]),
            processing_class=tokenizer(name),
        )
        rows = list(trainer.train_dataset)
        return rows[0] if rows else None

    return labels


TEXTS = {"prompt": "Name a river.", "completion": " The Loire."}
LISTS = {"prompt": [SYSTEM, *turns("Name a river.")], "completion": turns("", "The Loire.")[1:]}
HISTORY = {"prompt": TWO[:3], "completion": TWO[3:]}
CASES: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("messages", {"messages": SIX}, "chatml", {}),
    ("messages, answers touch", {"messages": TOUCHING}, "bare", {}),
    ("messages, BOS of both", {"messages": TWO}, "own_bos", {}),
    ("messages, BOS of the tokenizer", {"messages": TWO}, "adds_bos", {}),
    (
        "conversations",
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        "chatml",
        {},
    ),
    ("texts", TEXTS, "adds_bos", {}),
    ("texts that end with EOS", {**TEXTS, "completion": " Yes.</s>"}, "adds_bos", {}),
    ("texts that merge", {"prompt": "Reply as file", "completion": ".json"}, "plain", {}),
    ("texts, all tokens", TEXTS, "plain", {"completion_only_loss": False}),
    ("lists", LISTS, "chatml", {}),
    ("lists with history", HISTORY, "plain", {}),
    ("lists, all tokens", HISTORY, "plain", {"completion_only_loss": False}),
    ("text", {"text": "The Loire. Yes."}, "adds_bos", {}),
    ("text of a field", {"body": "The Loire."}, "plain", {"dataset_text_field": "body"}),
    ("generated only", {"messages": SIX}, "marks", {"assistant_only_loss": True}),
    ("generated only, lists", HISTORY, "marks", {"assistant_only_loss": True}),
    ("cut", {"messages": LONG}, "chatml", {"max_length": 100}),
    (
        "cut in the completion",
        {"prompt": LONG[:1], "completion": LONG[1:]},
        "chatml",
        {"max_length": 220},
    ),
    (
        "cut in the prompt",
        {"prompt": LONG[:1], "completion": LONG[1:]},
        "chatml",
        {"max_length": 40},
    ),
]


@pytest.mark.parametrize(
    ("row", "name", "settings"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_masks_are_those_of_trl(
    row: dict[str, Any], name: str, settings: dict[str, Any], theirs: Labels
) -> None:
    golden = theirs(row, name, **settings)
    own = {key: value for key, value in settings.items() if key != "max_length"}
    arguments = ({"name": "trl", **own}, row, name, settings.get("max_length", 1024))
    if not trained(golden):
        with pytest.raises(Rejection, match="no_response_after_truncation"):
            ours(*arguments)
        return
    assert golden is not None
    assert_same(ours(*arguments), golden)


def test_a_template_without_marks_is_refused_and_not_masked_whole() -> None:
    with pytest.raises(DataError, match="generation"):
        ours({"name": "trl", "assistant_only_loss": True}, {"messages": ONE}, "plain")


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "a", "output": "b"},
        {"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]},
    ],
)
def test_rows_that_trl_does_not_read_are_rejected(row: dict[str, Any]) -> None:
    with pytest.raises(Rejection, match="TRL reads 'messages'"):
        ours("trl", row, "plain")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "completion": " "}, "empty_response"),
        ({"text": "\n"}, "empty_response"),
        ({"text": "\ud83d oops"}, "unencodable_text"),
        ({"messages": turns("a", "")}, "empty_response"),
    ],
)
def test_rows_without_anything_to_learn_are_rejected(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejection) as caught:
        ours("trl", row, "plain")
    assert caught.value.reason == reason
