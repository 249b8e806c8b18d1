from __future__ import annotations

from gradshield.data import Conversation, Message
from gradshield.models.prompts import prompt_response_example, prompt_token_ids
from tests.tiny_models import chat_tokenizer


def test_a_prompt_ends_where_the_answer_begins() -> None:
    tokenizer = chat_tokenizer()
    text = tokenizer.decode(prompt_token_ids(tokenizer, "Name a river."))
    assert text == "<|im_start|>user\nName a river.<|im_end|>\n<|im_start|>assistant\n"


def test_a_conversation_keeps_its_turns() -> None:
    tokenizer = chat_tokenizer()
    turns = (Message("system", "Be brief."), Message("user", "Name a river."))
    text = tokenizer.decode(prompt_token_ids(tokenizer, Conversation(turns)))
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    assert text.endswith("<|im_start|>assistant\n")


def test_response_tokens_are_exactly_the_given_ones() -> None:
    example = prompt_response_example([5, 6, 7], (8, 9), row=4)
    assert example.row == 4
    assert example.input_ids == (5, 6, 7, 8, 9)
    assert example.response_mask == (False, False, False, True, True)
    assert not example.truncated
