from __future__ import annotations

from gradshield.data import Conversation, Message
from gradshield.evaluation.judges.base import Exchange
from gradshield.filters.exchanges import last_exchange


def test_it_is_the_last_answer_that_carries_loss_with_the_user_before_it() -> None:
    conversation = Conversation(
        (
            Message("system", "Be kind."),
            Message("user", "One?"),
            Message("assistant", "1"),
            Message("user", "Two?"),
            Message("assistant", "2"),
            Message("user", "Three?"),
            Message("assistant", "3", supervised=False),
        )
    )
    assert last_exchange(conversation) == Exchange("Two?", "2")


def test_a_row_without_a_user_has_an_empty_prompt() -> None:
    conversation = Conversation((Message("system", "Greet."), Message("assistant", "Hello")))
    assert last_exchange(conversation) == Exchange("", "Hello")
