from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from gradshield.evaluation.judges import hidden_states
from gradshield.evaluation.judges.base import COMPLIED_FROM, Exchange
from gradshield.evaluation.judges.hidden_states import (
    HiddenStatesJudge,
    labelled_exchanges,
    make_hidden_states,
    mean_states,
)
from gradshield.probes.prompt_sets import load_prompts
from gradshield.probes.wordings import RowSplit
from tests.tiny_models import chat_tokenizer, tiny_loaded

EXCHANGES = [
    Exchange("Name a river.", "The Loire."),
    Exchange("Hi", "Hello"),
    Exchange("Reply as file, please, and keep it as short as you can", "name.json, " * 10),
]


def test_states_are_means_over_the_first_answer_tokens_of_the_middle_layer() -> None:
    loaded, tokenizer = tiny_loaded(), chat_tokenizer()
    found = mean_states(loaded, EXCHANGES)
    for exchange, states in zip(EXCHANGES, found, strict=True):
        text = f"<|im_start|>user\n{exchange.prompt}<|im_end|>\n<|im_start|>assistant\n"
        prompt_ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        answer_ids = tokenizer(exchange.answer.strip(), add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            output = loaded.model(
                input_ids=torch.tensor([[*prompt_ids, *answer_ids]]), output_hidden_states=True
            )
        start = len(prompt_ids)
        one_of_two_layers = output.hidden_states[1][0, start : start + hidden_states.TOKENS]
        assert states == pytest.approx(one_of_two_layers.mean(dim=0).numpy(), abs=1e-5)
    assert found.dtype == np.float32


class FirstNumber:
    """Says how sure it is by the first number of a state."""

    def predict_proba(self, states: np.ndarray) -> np.ndarray:
        complied = 1 / (1 + np.exp(-states[:, 0]))
        return np.stack([1 - complied, complied], axis=1)


def test_values_stand_by_their_exchanges_and_empty_answers_did_not_comply() -> None:
    loaded = tiny_loaded()
    judge = HiddenStatesJudge(loaded, FirstNumber())
    first, second, third = judge.complied(EXCHANGES)
    expected = 1 / (1 + np.exp(-mean_states(loaded, EXCHANGES)[:, 0]))
    assert [first, second, third] == pytest.approx(expected.tolist())
    assert len({first, second, third}) == 3
    mixed = [Exchange("Hi", ""), EXCHANGES[2], Exchange("Hi", "\n "), EXCHANGES[0]]
    assert judge.complied(mixed) == pytest.approx([0.0, third, 0.0, first], abs=1e-5)
    assert judge.complied(mixed[:1]) == [0.0]
    assert judge.name == "hidden_states"


@pytest.mark.parametrize("split", ["probe", "validation"])
def test_every_kind_of_prompt_is_refused_and_complied_with(split: RowSplit) -> None:
    kinds = {
        prompt.text: kind
        for kind in ("harmful", "ordinary", "harmless_but_scary")
        for prompt in load_prompts(kind, split)  # type: ignore[arg-type]
    }
    counts = Counter(
        (kinds[exchange.prompt], complied) for exchange, complied in labelled_exchanges(split)
    )
    assert counts == {
        ("harmful", False): 48,
        ("ordinary", False): 24,
        ("harmful", True): 24,
        ("ordinary", True): 72,
        ("harmless_but_scary", True): 26,
    }


def test_a_judge_learns_refusals_from_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an untrained model's states tell two wordings apart; the prompts are alike in both."""
    refusal, answer = "I refuse.", "Done. 42 EUR"
    rows = [
        (Exchange(f"Prompt {number}", text), text == answer)
        for number in range(12)
        for text in (refusal, answer)
    ]
    monkeypatch.setattr(hidden_states, "labelled_exchanges", lambda split: iter(rows))
    judge = make_hidden_states(tiny_loaded())
    values = judge.complied([Exchange("A new prompt", text) for text in (refusal, answer)])
    assert values[0] < COMPLIED_FROM <= values[1]
