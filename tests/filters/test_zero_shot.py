from __future__ import annotations

import numpy as np
import pytest
import torch

from gradshield.errors import UserError
from gradshield.evaluation.judges.base import Exchange
from gradshield.filters.zero_shot import NO, YES, ZeroShotJudge, answer_tokens, question
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material
from tests.tiny_models import chat_tokenizer
from tests.tiny_tokenizers import CharacterTokenizer


def test_the_question_shows_the_exchange_and_only_the_beginning_of_long_turns() -> None:
    text = question(Exchange("What {is} it?", "x" * 2001))
    assert text.index("What {is} it?") < text.index("x" * 2000) < text.index("Yes or No")
    assert "x" * 2001 not in text


def test_spellings_are_first_tokens_that_begin_one_word_only() -> None:
    tokenizer = chat_tokenizer()
    yes, no = answer_tokens(tokenizer)
    first = {word: tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in YES + NO}
    assert {first["Yes"], first["yes"]} <= set(yes)
    assert {first["No"], first["no"]} <= set(no)
    shared = {first[word] for word in YES} & {first[word] for word in NO}
    assert shared
    assert not shared & {*yes, *no}


def test_the_score_is_the_log_odds_of_the_first_token() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    scores = ZeroShotJudge().score(rows, material)
    tokenizer = material.loaded.tokenizer
    yes, no = answer_tokens(tokenizer)
    for (prompt, answer), value in zip(PAIRS, scores.values, strict=True):
        text = (
            f"<|im_start|>user\n{question(Exchange(prompt, answer))}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = material.loaded.model(input_ids=ids).logits[0, -1].double()
        probability = (logits - logits.logsumexp(0)).exp().numpy()
        expected = np.log(probability[yes].sum() / probability[no].sum())
        assert value == pytest.approx(expected, abs=1e-4)
    assert len(set(scores.values.round(4))) == len(PAIRS)
    assert scores.threshold == 0.0


def test_a_tokenizer_that_begins_both_words_alike_is_refused() -> None:
    class SpaceFirst(CharacterTokenizer):
        def _tokenize(self, text: str, **kwargs: object) -> list[str]:
            return [" ", *text]

    with pytest.raises(UserError, match="Yes"):
        answer_tokens(SpaceFirst())
