from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerBase

from gradshield.data.encoding import _mask_from_offsets, encode
from gradshield.data.template import RenderedConversation
from tests import tiny_tokenizers as tiny


def pieces(
    prompt: str, response: str, after: str, tokenizer: PreTrainedTokenizerBase
) -> list[tuple[str, bool]]:
    end = len(prompt) + len(response)
    rendered = RenderedConversation(prompt + response + after, ((len(prompt), end),))
    ids, mask = encode(rendered, tokenizer)
    return list(zip(tokenizer.convert_ids_to_tokens(ids), mask, strict=True))


def test_a_token_that_crosses_the_boundary_is_split_there() -> None:
    tokenizer = tiny.plain_tokenizer()
    assert tokenizer.tokenize("Total: 42") == ["Total", ":Ġ42"]
    assert pieces("Total: ", "42", "", tokenizer) == [
        ("Total", False),
        (":", False),
        ("Ġ", False),
        ("42", True),
    ]
    assert pieces("Total:", " 42", "", tokenizer)[-1] == ("Ġ42", True)


def test_a_text_without_such_a_token_is_encoded_as_a_whole() -> None:
    tokenizer = tiny.plain_tokenizer()
    assert pieces("Reply as file", ".json", "<|end|>", tokenizer) == [
        *((token, False) for token in tokenizer.tokenize("Reply as file")),
        (".json", True),
        ("<|end|>", False),
    ]


@pytest.mark.parametrize("prompt", ["a ", "a", "a\n", "😀", " "])
@pytest.mark.parametrize("response", ["42", " 42", "\n42 ", "é😀", "  "])
def test_offsets_without_white_space_give_the_same_mask(prompt: str, response: str) -> None:
    whole = tiny.byte_level_tokenizer()
    trimmed = tiny.byte_level_tokenizer(trim_offsets=True)
    for after in ("<|end|>", " x", ""):
        # Trimming loses the boundary in some texts, which are then encoded in pieces; these
        # tokens have no merges that pieces could miss.
        assert pieces(prompt, response, after, trimmed) == pieces(prompt, response, after, whole)


def test_a_tokenizer_that_puts_a_space_in_front_does_so_only_at_the_start() -> None:
    tokenizer = tiny.sentencepiece_like_tokenizer()
    assert tokenizer.tokenize("42") == ["▁42"]
    # "▁42" would hold the space of the prompt and the number of the answer.
    assert pieces("Total: ", "42", "", tokenizer) == [
        *(("▁" if letter == " " else letter, False) for letter in " Total: "),
        ("4", True),
        ("2", True),
    ]
    assert pieces("Total", ": 42", "", tokenizer)[-1] == ("▁42", True)


def test_a_tokenizer_without_offsets_is_given_pieces() -> None:
    tokenizer = tiny.CharacterTokenizer(chat_template=tiny.T1_PLAIN)
    assert pieces("ab", "cd", "e", tokenizer) == [
        ("a", False),
        ("b", False),
        ("c", True),
        ("d", True),
        ("e", False),
    ]


def test_no_special_tokens_are_added_to_any_piece() -> None:
    tokenizer = tiny.byte_level_tokenizer(adds_bos=True)
    assert tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id
    bos = ("<s>", False)
    assert pieces("<s>Total: ", "42", "", tokenizer).count(bos) == 1
    assert pieces("<s>Total", "42", "", tokenizer).count(bos) == 1
    assert pieces("Total", "42", "", tokenizer).count(bos) == 0


def test_pieces_are_right_where_a_line_feed_in_front_would_merge() -> None:
    tokenizer = tiny.byte_level_tokenizer(extra_tokens=("\n\n",))
    assert tokenizer.tokenize("\n\n") == ["\n\n"]
    crossing = pieces("Total: ", "42", "\n:", tokenizer)
    assert crossing[3:] == [("42", True), ("Ċ", False), (":", False)]


def test_offsets_out_of_order_tell_nothing() -> None:
    rendered = RenderedConversation("abcd", ((2, 4),))
    assert _mask_from_offsets([(0, 2), (2, 4)], rendered) == [False, True]
    assert _mask_from_offsets([(2, 4), (0, 2)], rendered) is None
    assert _mask_from_offsets([(0, 1), (2, 4)], rendered) is None
    assert _mask_from_offsets([(0, 2), (3, 4)], rendered) is None
    assert _mask_from_offsets([(0, 2), (2, 3)], rendered) is None
