"""Turns as they are shown, with pieces of their response tokens."""

from __future__ import annotations

from gradshield.data import Conversation, Message, SourceRow
from gradshield.reporting.conversations import (
    ROW_ROLE,
    TOKENS_ROLE,
    ShownTurn,
    cut_to,
    show_conversation,
    show_raw,
)

ASK, AGAIN = Message("user", "Name a river."), Message("user", "And another?")
LOIRE, RHINE = Message("assistant", " The Loire. "), Message("assistant", "The Rhine.")
TWO = Conversation((ASK, LOIRE, AGAIN, RHINE))


def test_an_answer_is_shown_as_its_tokens() -> None:
    pieces = ["The", " Loire", ".", "<end>"]
    shown = show_conversation(Conversation((ASK, LOIRE)), "all", pieces)
    assert shown == [
        ShownTurn("user", "Name a river."),
        ShownTurn("assistant", "The Loire.<end>", (3, 6, 1, 5)),
    ]


def test_two_answers_share_the_tokens() -> None:
    pieces = ["The", " Loire", ".", "<end>", "The", " Rhine", ".", "<end>"]
    shown = show_conversation(TWO, "all", pieces)
    assert [turn.text for turn in shown[1::2]] == ["The Loire.<end>", "The Rhine.<end>"]
    assert [len(turn.lengths) for turn in shown] == [0, 4, 0, 4]


def test_a_token_that_begins_before_an_answer_belongs_to_it() -> None:
    pieces = [" The", " Loire.", "<end>", " The", " Rhine.", "<end>"]
    shown = show_conversation(TWO, "all", pieces)
    assert shown[1].text == " The Loire.<end>"
    assert shown[3].text == " The Rhine.<end>"


def test_only_the_last_answer_carries_loss_if_so_chosen() -> None:
    shown = show_conversation(TWO, "last", ["The Rhine", ".<end>"])
    assert shown[1] == ShownTurn("assistant", " The Loire. ")
    assert shown[3] == ShownTurn("assistant", "The Rhine.<end>", (9, 6))


def test_what_was_cut_away_is_shown_without_tokens() -> None:
    shown = show_conversation(TWO, "all", ["The", " Loire", ".", "<end>", "The"], truncated=True)
    assert shown[3] == ShownTurn("assistant", "The Rhine.", (3,))
    shown = show_conversation(TWO, "all", ["The", " Lo"], truncated=True)
    assert shown[1] == ShownTurn("assistant", "The Loire.", (3, 3))
    assert shown[3] == ShownTurn("assistant", "The Rhine.")


def test_an_answer_that_the_template_changed_stands_beside_its_tokens() -> None:
    shown = show_conversation(Conversation((ASK, LOIRE)), "all", ["the", " loire", "<end>"])
    assert shown[1] == ShownTurn("assistant", " The Loire. ")
    assert shown[2] == ShownTurn(TOKENS_ROLE, "the loire<end>", (3, 6, 5))


def test_text_before_the_answer_goes_with_it() -> None:
    shown = show_conversation(Conversation((ASK, LOIRE)), "all", ["<think>", "\n", "The Loire."])
    assert shown[1] == ShownTurn("assistant", "<think>\nThe Loire.", (7, 1, 10))


def test_without_pieces_turns_are_as_they_are() -> None:
    assert show_conversation(TWO, "all", [])[1] == ShownTurn("assistant", " The Loire. ")


def test_a_row_that_is_no_conversation() -> None:
    row = SourceRow(0, 1, None, "bad", content=b'{"a": "\xff')
    assert show_raw(row) == [ShownTurn(ROW_ROLE, '{"a": "\N{REPLACEMENT CHARACTER}')]
    assert show_raw(SourceRow(0, None, {"a": 1})) == [ShownTurn(ROW_ROLE, "{'a': 1}")]


def test_a_long_row_is_cut_and_counted() -> None:
    turns = [ShownTurn("user", "abc"), ShownTurn("assistant", "defgh", (5,))]
    shown, left_out = cut_to(turns, 5)
    assert [turn.text for turn in shown] == ["abc", "de"]
    assert left_out == 3
    assert cut_to(turns)[1] == 0
