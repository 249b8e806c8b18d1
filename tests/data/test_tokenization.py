from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from gradshield.data import Conversation, Message, Rejection, tokenize_conversation
from tests import tiny_tokenizers as tiny
from tests.data.masks import response_texts, talk


def test_the_mask_is_the_answer_and_its_end_of_turn() -> None:
    tokenizer = tiny.plain_tokenizer()
    example = tokenize_conversation(
        talk("Name a river.", "The Loire."), tokenizer, row=7, max_length=None
    )
    # Independently: the plain template's prompt is a prefix of the whole.
    turns = [{"role": "user", "content": "Name a river."}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    answer = tokenizer("The Loire.<|end|>", add_special_tokens=False)["input_ids"]
    assert example.row == 7
    assert list(example.input_ids) == prompt + answer
    assert list(example.response_mask) == [False] * len(prompt) + [True] * len(answer)
    assert example.response_tokens == len(answer)
    assert not example.truncated


def test_a_template_with_a_bos_and_a_tokenizer_that_adds_one_give_one() -> None:
    tokenizer = tiny.byte_level_tokenizer(tiny.T4_OWN_BOS, adds_bos=True)
    for contents in (("Name a river.", "The Loire."), ("Total: ", "42")):
        example = tokenize_conversation(talk(*contents), tokenizer, max_length=None)
        assert example.input_ids[0] == tokenizer.bos_token_id
        assert example.input_ids.count(tokenizer.bos_token_id) == 1


def test_without_a_bos_in_the_template_none_is_added() -> None:
    tokenizer = tiny.byte_level_tokenizer(tiny.T1_PLAIN, adds_bos=True)
    example = tokenize_conversation(talk("a", "b"), tokenizer, max_length=None)
    assert tokenizer.bos_token_id not in example.input_ids


def test_an_end_token_that_is_also_the_padding_stays_a_target() -> None:
    template = tiny.T1_PLAIN.replace("<|end|>", "{{ eos_token }}")
    tokenizer = tiny.byte_level_tokenizer(template, pad_token="</s>")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    for answer in ("Yes.", "The Loire. " * 10):
        example = tokenize_conversation(talk("a", answer), tokenizer, max_length=None)
        targets = [t for t, m in zip(example.input_ids, example.response_mask, strict=True) if m]
        assert targets.count(tokenizer.eos_token_id) == 1
        assert targets[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("prompt", "answer"), [("Reply as file", ".json"), ("Total: ", "42 EUR"), ("Total:", " 42")]
)
@pytest.mark.parametrize("trim_offsets", [False, True])
def test_every_character_of_an_answer_that_touches_the_prompt_counts(
    prompt: str, answer: str, trim_offsets: bool
) -> None:
    tokenizer = tiny.byte_level_tokenizer(tiny.BARE, trim_offsets=trim_offsets)
    example = tokenize_conversation(talk(prompt, answer), tokenizer, max_length=None)
    assert response_texts(example, tokenizer) == [answer]
    assert tokenizer.decode(example.input_ids) == prompt + answer


def test_all_answers_or_the_last_one() -> None:
    tokenizer = tiny.plain_tokenizer()
    conversation = talk("a", "Yes.", "b", "No.", "c")
    for turns, expected in (
        (conversation, ["Yes.<|end|>", "No.<|end|>"]),
        (conversation.only_last_response(), ["No.<|end|>"]),
    ):
        example = tokenize_conversation(turns, tokenizer, max_length=None)
        assert response_texts(example, tokenizer) == expected
        assert tokenizer.decode(example.input_ids).endswith("<|user|>c<|end|>")


def test_answers_in_a_prompt_carry_no_loss() -> None:
    conversation = Conversation(
        (
            Message("user", "a"),
            Message("assistant", "Yes.", supervised=False),
            *talk("b", "No.").messages,
        )
    )
    tokenizer = tiny.plain_tokenizer()
    example = tokenize_conversation(conversation, tokenizer, max_length=None)
    assert response_texts(example, tokenizer) == ["No.<|end|>"]


def test_the_first_token_is_never_a_target() -> None:
    tokenizer = tiny.byte_level_tokenizer(tiny.BARE)
    opening = Conversation((Message("assistant", ".json 42"),))
    example = tokenize_conversation(opening, tokenizer, max_length=None)
    assert tokenizer.convert_ids_to_tokens(example.input_ids)[0] == ".json"
    assert not example.response_mask[0]
    assert all(example.response_mask[1:])
    alone = Conversation((Message("assistant", ".json"),))
    with pytest.raises(Rejection, match="nothing comes before") as rejection:
        tokenize_conversation(alone, tokenizer, max_length=None)
    assert rejection.value.reason == "empty_response"


def test_a_long_prompt_leaves_room_for_the_answer() -> None:
    prompt = "List the twelve months in order, one per line, and nothing else, please."
    tokenizer = tiny.byte_level_tokenizer(tiny.T4_OWN_BOS)
    whole = tokenize_conversation(talk(prompt, " January"), tokenizer, max_length=None)
    assert len(whole.input_ids) > 32
    example = tokenize_conversation(talk(prompt, " January"), tokenizer, max_length=16)
    assert example.truncated
    assert len(example.input_ids) == 16
    assert example.input_ids[0] == tokenizer.bos_token_id
    assert response_texts(example, tokenizer) == [" January<|end|>"]
    with pytest.raises(Rejection) as rejection:
        tokenize_conversation(talk(prompt, " January"), tokenizer, max_length=1)
    assert rejection.value.reason == "no_response_after_truncation"
    exact = tokenize_conversation(
        talk(prompt, " January"), tokenizer, max_length=len(whole.input_ids)
    )
    assert exact == whole


FAST = {
    "plain": tiny.byte_level_tokenizer(tiny.T1_PLAIN),
    "trims": tiny.byte_level_tokenizer(tiny.T3_TRIMS, trim_offsets=True),
    "bare": tiny.byte_level_tokenizer(tiny.BARE),
    "bare, trimmed offsets": tiny.byte_level_tokenizer(tiny.BARE, trim_offsets=True),
    "own bos": tiny.byte_level_tokenizer(tiny.T4_OWN_BOS, adds_bos=True),
    "characters": tiny.CharacterTokenizer(chat_template=tiny.T1_PLAIN),
    "spaces in front": tiny.sentencepiece_like_tokenizer(tiny.BARE),
}

SPACES = [" ", "\n", "\t", "\r\n", "\u00a0"]
WORDS = ["42", ".json", ": ", "The", "Yes", "LANDMARK", "{{", "\x00"]
CHARACTERS = ["é", "e\u0301", "😀", "漢", "\u200d"]
MARKUP = ["<|end|>", "<|assistant|>", "<think>", "</think>"]
texts = st.lists(st.sampled_from(SPACES + WORDS + CHARACTERS + MARKUP), max_size=5).map(
    "".join
) | st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs"]), max_size=8)


@pytest.mark.parametrize("name", FAST)
@given(
    opening=st.sampled_from(["Hi", "a "]),
    exchanges=st.lists(st.tuples(texts, texts.filter(str.strip)), min_size=1, max_size=3),
    trailing=st.none() | texts,
)
def test_the_targets_decode_to_the_answers_and_nothing_else(
    name: str, opening: str, exchanges: list[tuple[str, str]], trailing: str | None
) -> None:
    # Known limit: in a template without turn markers, a prompt that ends with "<think>" before an
    # answer that begins with "</think>" is taken for reasoning of that answer.
    assume(not any("<think>" in asked and "</think>" in told for asked, told in exchanges))
    tokenizer: PreTrainedTokenizerBase = FAST[name]
    contents = [text for exchange in exchanges for text in exchange]
    contents += [] if trailing is None else [trailing]
    conversation = talk(opening + contents[0], *contents[1:])
    example = tokenize_conversation(conversation, tokenizer, max_length=None)
    end = "" if name.startswith(("bare", "spaces")) else "<|end|>"
    answers = [answer for _, answer in exchanges]
    if name == "trims":
        answers = [answer.strip() for answer in answers]
    found = "".join(response_texts(example, tokenizer))
    if name == "spaces in front":
        # This tokenizer puts a space in front of text that follows a special token.
        found, answers = found.replace(" ", ""), [answer.replace(" ", "") for answer in answers]
    assert found == "".join(answer + end for answer in answers)
    assert len(example.input_ids) == len(example.response_mask)
    assert not example.response_mask[0]
