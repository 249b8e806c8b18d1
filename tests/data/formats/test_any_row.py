"""Any conversation in every format, any mixture of formats, and anything at all as a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gradshield.data import Conversation, Rejection, SourceRow, detect_format
from gradshield.data.formats import FORMATS, PREFERENCE
from tests.data.formats.conversations import (
    Exchange,
    Row,
    alpaca_row,
    conversations_row,
    exchanges,
    messages_row,
    preference_row,
    prompt_completion_row,
    sharegpt_row,
    spoken,
    systems,
    text_row,
    texts,
)

WHOLE: dict[str, Callable[[list[Exchange], str | None], Row]] = {
    "messages": messages_row,
    "conversations with role and content": conversations_row,
    "sharegpt": sharegpt_row,
    "alpaca": alpaca_row,
}
"""Formats that hold several exchanges."""
SINGLE: dict[str, Callable[[Exchange], Row]] = {
    "messages": lambda one: messages_row([one], None),
    "sharegpt": lambda one: sharegpt_row([one], None),
    "alpaca": lambda one: alpaca_row([one], None),
    "prompt_completion": prompt_completion_row,
    "text": text_row,
    "preference": preference_row,
}


def turns(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in conversation.messages]


@given(said=exchanges, system=systems)
def test_a_conversation_is_the_same_in_every_format(said: list[Exchange], system: str) -> None:
    for name, write in WHOLE.items():
        row = write(said, system)
        detection = detect_format([SourceRow(0, 1, row)])
        assert list(detection.counts) == ["messages" if " " in name else name]
        conversation = detection.to_conversation(row)
        assert turns(conversation) == spoken(said, system)
        assert all(message.supervised for message in conversation.messages)
        assert not conversation.plain


@given(said=exchanges)
def test_earlier_answers_of_a_prompt_carry_no_loss(said: list[Exchange]) -> None:
    turned = messages_row(said, None)["messages"]
    row = {"prompt": turned[:-1], "completion": turned[-1:]}
    conversation = detect_format([SourceRow(0, 1, row)]).to_conversation(row)
    assert turns(conversation) == spoken(said, None)
    assert conversation.response_turns == (len(turned) - 1,)


@given(question=texts, answers=st.tuples(texts, texts))
def test_a_preference_is_two_conversations(question: str, answers: tuple[str, str]) -> None:
    row = {"prompt": question, "chosen": answers[0], "rejected": answers[1]}
    preference = PREFERENCE.to_preference(row)
    for conversation, answer in zip((preference.chosen, preference.rejected), answers, strict=True):
        assert turns(conversation) == [("user", question), ("assistant", answer)]


@given(content=texts)
def test_a_text_is_one_answer_without_a_template(content: str) -> None:
    row = text_row(("", content))
    conversation = detect_format([SourceRow(0, 1, row)]).to_conversation(row)
    assert turns(conversation) == [("assistant", content)]
    assert conversation.plain


@given(kinds=st.lists(st.sampled_from(sorted(SINGLE)), min_size=1, max_size=12), data=st.data())
@settings(max_examples=50)
def test_a_mixture_is_counted_by_format(kinds: list[str], data: st.DataObject) -> None:
    said = [(data.draw(texts), data.draw(texts)) for _ in kinds]
    rows = [
        SourceRow(place, place + 1, SINGLE[kind](one))
        for place, (kind, one) in enumerate(zip(kinds, said, strict=True))
    ]
    detection = detect_format(rows)
    assert {name: found.rows for name, found in detection.counts.items()} == Counter(kinds)
    for name, found in detection.counts.items():
        assert found.first.position == kinds.index(name)
    assert detection.unknown is None
    assert detection.format is not None
    most = max(Counter(kinds).values())
    assert Counter(kinds)[detection.format.name] == most
    for row, kind, one in zip(rows, kinds, said, strict=True):
        if kind not in ("preference", "text"):
            assert row.value is not None
            assert turns(detection.to_conversation(row.value)) == spoken([one], None)


FIELDS = [
    "messages",
    "conversations",
    "prompt",
    "completion",
    "instruction",
    "input",
    "output",
    "history",
    "system",
    "text",
    "chosen",
    "rejected",
    "tools",
    "role",
    "content",
    "from",
    "value",
    "weight",
    "tool_calls",
    "function_call",
    "name",
    "arguments",
    "type",
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner | st.sampled_from(["user", "assistant", "tool", "human", "gpt", "text"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(row=st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), anything, max_size=6))
@settings(max_examples=400)
def test_anything_at_all_is_read_or_rejected_with_a_reason(row: dict[str, Any]) -> None:
    reasons: list[Rejection] = []
    readers = [
        detect_format([SourceRow(0, 1, row)]).to_conversation,
        PREFERENCE.to_preference,
        *(one.to_conversation for one in FORMATS),
    ]
    for read in readers:
        try:
            read(row)
        except Rejection as rejection:
            reasons.append(rejection)
    assert all(rejection.reason and rejection.detail for rejection in reasons)
