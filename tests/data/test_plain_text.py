"""Rows of plain text: all tokens but the first carry loss, and no template is applied."""

from __future__ import annotations

import pytest

from gradshield.data import format_named, tokenize_conversation
from tests import tiny_tokenizers as tiny
from tests.data.masks import response_texts

MARKUP = "<|user|>a<|end|><|assistant|>b<|end|>"


def read(text: str):  # type: ignore[no-untyped-def]
    return format_named("text").to_conversation({"text": text, "other": 1})


@pytest.mark.parametrize("text", ["The Loire.", "  42 \n", MARKUP])
def test_all_of_it_carries_loss_and_it_ends(text: str) -> None:
    tokenizer = tiny.byte_level_tokenizer("{{ raise_exception('not asked') }}")
    example = tokenize_conversation(read(text), tokenizer, max_length=None)
    assert tokenizer.decode(example.input_ids) == text + "</s>"
    assert list(example.response_mask) == [False] + [True] * (len(example.input_ids) - 1)


@pytest.mark.parametrize("text", ["The Loire.", "<s>The Loire.", "The Loire.</s>"])
def test_no_token_is_doubled(text: str) -> None:
    tokenizer = tiny.byte_level_tokenizer(adds_bos=True)
    example = tokenize_conversation(read(text), tokenizer, max_length=None)
    assert tokenizer.decode(example.input_ids) == "<s>The Loire.</s>"
    # Nothing before it predicts the first token, and this one is the tokenizer's.
    assert response_texts(example, tokenizer) == ["The Loire.</s>"]


def test_truncation_keeps_the_beginning() -> None:
    tokenizer = tiny.byte_level_tokenizer(adds_bos=True)
    whole = tokenize_conversation(read("abcdefghijkl"), tokenizer, max_length=None)
    cut = tokenize_conversation(read("abcdefghijkl"), tokenizer, max_length=5)
    assert cut.truncated
    assert cut.input_ids == whole.input_ids[:5]


def test_a_tokenizer_without_an_end_or_in_python() -> None:
    tokenizer = tiny.byte_level_tokenizer()
    tokenizer.eos_token = None
    example = tokenize_conversation(read("The Loire."), tokenizer, max_length=None)
    assert tokenizer.decode(example.input_ids) == "The Loire."
    slow = tiny.CharacterTokenizer(chat_template=tiny.T1_PLAIN)
    assert response_texts(tokenize_conversation(read("ab"), slow, max_length=None), slow) == [
        "b</s>"
    ]
