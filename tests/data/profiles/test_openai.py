"""The OpenAI profile; the service makes its tokens itself, so the masks are derived by hand."""

from __future__ import annotations

import pytest

from gradshield.data import Rejection
from tests.data.masks import response_texts
from tests.data.profiles.cases import LONG, TWO, tokenizer
from tests.data.profiles.golden import ours


def test_answers_with_the_weight_0_carry_no_loss() -> None:
    row = {"messages": [TWO[0], {**TWO[1], "weight": 0}, TWO[2], {**TWO[3], "weight": 1}]}
    example = ours("openai", row, "chatml")
    assert response_texts(example, tokenizer("chatml")) == ["Yes. Yes.<|im_end|>"]


def test_the_beginning_of_a_long_row_is_kept() -> None:
    whole = ours("openai", {"messages": LONG}, "chatml")
    cut = ours("openai", {"messages": LONG}, "chatml", 220)
    assert cut.input_ids == whole.input_ids[:220]
    assert cut.response_mask == whole.response_mask[:220]
    assert cut.truncated
    with pytest.raises(Rejection, match="no_response_after_truncation"):
        ours("openai", {"messages": LONG}, "chatml", 20)


def test_other_rows_are_not_read() -> None:
    with pytest.raises(Rejection, match="found the fields completion, prompt; the OpenAI service"):
        ours("openai", {"prompt": "a", "completion": "b"}, "chatml")
