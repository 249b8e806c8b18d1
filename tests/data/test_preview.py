from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.data import preview, tokenize_conversation
from tests import tiny_tokenizers as tiny
from tests.data.masks import talk

TOKENIZERS = {
    "byte level": tiny.byte_level_tokenizer(),
    "spaces in front": tiny.sentencepiece_like_tokenizer(),
    "characters": tiny.CharacterTokenizer(chat_template=tiny.T1_PLAIN),
}


def test_each_token_is_shown_with_its_side() -> None:
    tokenizer = tiny.plain_tokenizer()
    example = tokenize_conversation(talk("Total:", " 42 😀"), tokenizer, max_length=None)
    assert preview(example, tokenizer) == [
        ("<|user|>", False),
        ("Total", False),
        (":", False),
        ("<|end|>", False),
        ("<|assistant|>", False),
        (" 42", True),
        (" ", True),
        ("", True),
        ("", True),
        ("", True),
        ("😀", True),
        ("<|end|>", True),
    ]


@pytest.mark.parametrize("name", TOKENIZERS)
@given(answer=st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs"]), max_size=9))
def test_the_shown_texts_join_to_the_decoded_example(name: str, answer: str) -> None:
    tokenizer = TOKENIZERS[name]
    example = tokenize_conversation(talk("The Loire", "x" + answer), tokenizer, max_length=None)
    shown = preview(example, tokenizer)
    assert "".join(text for text, _ in shown) == tokenizer.decode(example.input_ids)
    assert tuple(is_response for _, is_response in shown) == example.response_mask
