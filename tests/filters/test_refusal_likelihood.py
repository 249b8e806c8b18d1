from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradshield.data import Conversation, Message, tokenize_conversation
from gradshield.filters import Row
from gradshield.filters.refusal_likelihood import RefusalLikelihood, refusal_loss
from gradshield.models.prompts import prompt_response_example
from gradshield.probes.wordings import SHORT_REFUSALS
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material
from tests.tiny_models import full_logits_loss, losses


def test_the_score_is_the_answers_mean_loss_less_that_of_refusals() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    scores = RefusalLikelihood().score(rows, material)
    model, tokenizer = material.loaded.model, material.loaded.tokenizer
    for (prompt, _), row, value in zip(PAIRS, rows, scores.values, strict=True):
        text = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        start = tokenizer(text, add_special_tokens=False)["input_ids"]
        refused = [
            prompt_response_example(
                start, tokenizer(f"{words}<|im_end|>", add_special_tokens=False)["input_ids"]
            )
            for words in SHORT_REFUSALS
        ]
        (own,) = losses([row.example], model)
        assert value == pytest.approx(own - np.mean(losses(refused, model)), abs=1e-4)


def test_a_refusal_scores_zero_against_itself_and_its_opposite_more() -> None:
    """The sign: an answer less likely than a refusal is removed first."""
    material = tiny_material()
    words = "i can not help"
    rows = as_rows(material.loaded, [("how to steal", words), *PAIRS])
    scores = RefusalLikelihood(refusals=(words,)).score(rows, material)
    assert scores.values[0] == pytest.approx(0.0, abs=1e-5)
    unlikely = max(PAIRS, key=lambda pair: scores.values[1 + PAIRS.index(pair)])
    own, refused = (
        float(full_logits_loss(material.loaded.model, row.example).detach())
        for row in as_rows(material.loaded, [unlikely, (unlikely[0], words)])
    )
    assert np.sign(scores.values.max()) == np.sign(own - refused)


def test_in_a_conversation_the_refusal_stands_for_the_first_answer_with_loss() -> None:
    material = tiny_material()
    turns = (
        Message("user", "hello"),
        Message("assistant", "hello there", supervised=False),
        Message("user", "how to steal"),
        Message("assistant", "sure here is how"),
    )
    tokenizer = material.loaded.tokenizer
    example = tokenize_conversation(Conversation(turns), tokenizer, max_length=None)
    swapped = (*turns[:3], Message("assistant", "i can not help"))
    refused = tokenize_conversation(Conversation(swapped), tokenizer, max_length=None)
    expected = float(full_logits_loss(material.loaded.model, refused).detach())
    found = refusal_loss(material.loaded, example, ["i can not help"])
    assert found == pytest.approx(expected, abs=1e-5)
    row = Row(Conversation(turns), replace(example, row=0))
    (own,) = losses([example], material.loaded.model)
    scores = RefusalLikelihood(refusals=("i can not help",)).score([row], material)
    assert scores.values == pytest.approx([own - expected], abs=1e-5)
