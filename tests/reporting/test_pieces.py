"""The text of each token against decoding all of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.reporting.pieces import TokenPieces
from tests.tiny_tokenizers import (
    CharacterTokenizer,
    byte_level_tokenizer,
    plain_tokenizer,
    sentencepiece_like_tokenizer,
)

TEXTS = (
    "Total: 42 EUR<|end|>",
    "The Loire \U0001f600 is é long\n\nriver",
    " leading and trailing ",
    "漢字と日本語",
)


@pytest.mark.parametrize(
    "tokenizer",
    [byte_level_tokenizer(), sentencepiece_like_tokenizer(), CharacterTokenizer()],
    ids=lambda tokenizer: type(tokenizer).__name__,
)
@pytest.mark.parametrize("text", TEXTS)
def test_pieces_join_to_the_text(tokenizer: Any, text: str) -> None:
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]
    ids = tokenizer("a" + text, add_special_tokens=False)["input_ids"]
    ids = ids[len(tokenizer("a", add_special_tokens=False)["input_ids"]) :]
    pieces = TokenPieces(tokenizer).of(ids)
    assert len(pieces) == len(ids)
    whole, head = tokenizer.decode(anchor + ids), tokenizer.decode(anchor)
    assert "".join(pieces) == whole.removeprefix(head)


def test_the_last_token_of_a_character_has_it() -> None:
    tokenizer = plain_tokenizer()
    ids = tokenizer("\U0001f600", add_special_tokens=False)["input_ids"]
    assert len(ids) == 4
    assert TokenPieces(tokenizer).of(ids) == ["", "", "", "\U0001f600"]


def test_a_character_that_breaks_off_is_told() -> None:
    tokenizer = plain_tokenizer()
    ids = tokenizer("Hi \U0001f600", add_special_tokens=False)["input_ids"][:-1]
    pieces = TokenPieces(tokenizer).of(ids)
    assert pieces[-1].startswith("\N{REPLACEMENT CHARACTER}")
    assert "".join(pieces).startswith("Hi ")


@given(st.text(max_size=30))
def test_byte_level_pieces_join_whatever_the_text(text: str) -> None:
    tokenizer = plain_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert "".join(TokenPieces(tokenizer).of(ids)) == tokenizer.decode(ids)
