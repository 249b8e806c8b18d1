from __future__ import annotations

import pickle

import pytest

from gradshield.data import Conversation, Message, Rejection
from gradshield.data.conversation import check_trainable


def test_a_rejection_reads_as_reason_and_detail() -> None:
    rejection = Rejection("empty_response", "turn 2 has no text")
    assert str(rejection) == "empty_response: turn 2 has no text"
    copy = pickle.loads(pickle.dumps(rejection))
    assert (copy.reason, copy.detail) == (rejection.reason, rejection.detail)


@pytest.mark.parametrize(
    ("messages", "reason", "words"),
    [
        ([], "no_assistant_turn", "none"),
        ([Message("user", "a")], "no_assistant_turn", "user"),
        ([Message("assistant", "a", supervised=False)], "no_assistant_turn", "assistant"),
        ([Message("user", "a"), Message("assistant", " \n")], "empty_response", "turn 2"),
        (
            [Message("assistant", "a"), Message("user", "\udc00"), Message("assistant", "b")],
            "unencodable_text",
            r"turn 2 \(user\).*\\udc00",
        ),
    ],
)
def test_what_has_no_response_is_refused(messages: list[Message], reason: str, words: str) -> None:
    with pytest.raises(Rejection, match=words) as rejection:
        check_trainable(Conversation(tuple(messages)))
    assert rejection.value.reason == reason


def test_trailing_user_turns_and_unsupervised_empty_answers_are_fine() -> None:
    conversation = Conversation(
        (
            Message("user", "a"),
            Message("assistant", "", supervised=False),
            Message("assistant", "b"),
            Message("user", "c"),
        )
    )
    check_trainable(conversation)
    assert conversation.response_turns == (2,)
