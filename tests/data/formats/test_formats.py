from __future__ import annotations

from typing import Any

import pytest

from gradshield.data import Conversation, DataError, Message, Rejection, format_named


def read(name: str, value: dict[str, Any]) -> Conversation:
    return format_named(name).to_conversation(value)


USER, ANSWER = Message("user", "a"), Message("assistant", "b")


@pytest.mark.parametrize(
    ("name", "value", "messages"),
    [
        (
            "messages",
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            [USER, ANSWER],
        ),
        (
            "messages",
            {
                "conversations": [
                    {"role": "developer", "content": "s", "name": None},
                    {"role": "User", "content": "a"},
                    {"role": "assistant", "content": "b", "tool_calls": None},
                    {"role": "user", "content": "more"},
                ],
                "tools": [],
            },
            [Message("system", "s"), USER, ANSWER, Message("user", "more")],
        ),
        (
            "messages",
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "no", "weight": 0},
                    {"role": "assistant", "content": "b", "weight": 1},
                ]
            },
            [USER, Message("assistant", "no", supervised=False), ANSWER],
        ),
        ("prompt_completion", {"prompt": "a", "completion": "b"}, [USER, ANSWER]),
        ("prompt_completion", {"prompt": "a ", "completion": " b\n"}, None),
        (
            "prompt_completion",
            {"prompt": [{"role": "user", "content": "a"}], "completion": "b"},
            [USER, ANSWER],
        ),
        # A column that repeats the first turn, as published data sets have.
        (
            "messages",
            {
                "prompt": "a",
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b"},
                ],
            },
            [USER, ANSWER],
        ),
        (
            "prompt_completion",
            {
                "prompt": [
                    {"role": "assistant", "content": "before"},
                    {"role": "user", "content": "a"},
                ],
                "completion": [{"role": "assistant", "content": "b"}],
            },
            [
                Message("assistant", "before", supervised=False),
                Message("user", "a", supervised=False),
                ANSWER,
            ],
        ),
        ("alpaca", {"instruction": "a", "input": "", "output": "b", "tags": "x"}, [USER, ANSWER]),
        ("alpaca", {"instruction": "a", "input": None, "output": "b"}, [USER, ANSWER]),
        (
            "alpaca",
            {
                "instruction": "a",
                "input": "c",
                "output": "b",
                "system": "s",
                "history": [["q", "r"]],
            },
            [
                Message("system", "s"),
                Message("user", "q"),
                Message("assistant", "r"),
                Message("user", "a\n\nc"),
                ANSWER,
            ],
        ),
        (
            "sharegpt",
            {
                "system": "s",
                "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
            },
            [Message("system", "s"), USER, ANSWER],
        ),
        (
            "sharegpt",
            {
                "conversations": [
                    {"from": "system", "value": "s"},
                    {"from": "user", "value": "a"},
                    {"from": "chatgpt", "value": "b"},
                    {"from": "assistant", "value": "b"},
                ]
            },
            [Message("system", "s"), USER, ANSWER, ANSWER],
        ),
    ],
)
def test_rows_become_conversations(
    name: str, value: dict[str, Any], messages: list[Message] | None
) -> None:
    if messages is None:  # white space belongs to the contents
        messages = [Message("user", "a "), Message("assistant", " b\n")]
    conversation = read(name, value)
    assert format_named(name).matches(value)
    supervised = [m.supervised for m in conversation.messages if m.role == "assistant"]
    assert supervised == [m.supervised for m in messages if m.role == "assistant"]
    assert [(m.role, m.content) for m in conversation.messages] == [
        (m.role, m.content) for m in messages
    ]


def test_text_parts_are_joined_by_a_line_feed() -> None:
    parts = [{"type": "text", "text": "Spell cat"}, {"type": "text", "text": "backwards"}, "now"]
    value = {
        "messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "b"}]
    }
    assert read("messages", value).messages[0].content == "Spell cat\nbackwards\nnow"


def answer(**turn: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", **turn}]}


IMAGE = [{"type": "image", "image": "cat.png"}]
CALL = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("name", "value", "reason", "words"),
    [
        ("messages", answer(content=""), "empty_response", r"turn 2 \(assistant\)"),
        ("messages", answer(content=None), "unsupported_content", "'content' of turn 2.*null"),
        ("messages", answer(content="b", reasoning_content=["r"]), "unsupported_content", "reason"),
        ("messages", answer(content=IMAGE), "empty_response", r"turn 2 \(assistant\)"),
        ("messages", answer(content=[{"type": "text"}]), "unsupported_content", "part 1"),
        ("messages", answer(content=4), "unsupported_content", "int"),
        ("messages", answer(content="b", weight=0.5), "unsupported_content", "0.5"),
        ("messages", answer(content="b") | {"tools": [1]}, "unsupported_content", "entry 1"),
        ("messages", answer(content="b") | {"tools": "x"}, "unsupported_content", "a list of"),
        ("messages", answer(tool_calls="x"), "unsupported_content", "not a list"),
        ("messages", answer(tool_calls=["x"]), "unsupported_content", "call 1 of turn 2.*object"),
        ("messages", answer(tool_calls=[{"name": 1}]), "unsupported_content", "no function"),
        ("messages", answer(function_call={"arguments": ""}), "unsupported_content", "with a name"),
        (
            "messages",
            answer(function_call={"name": "a", "arguments": 3}),
            "unsupported_content",
            "arguments of tool call 1 .* not an object",
        ),
        (
            "messages",
            {"messages": [{"role": "user", "content": "a", "tool_calls": CALL}]},
            "unsupported_content",
            "turn 1 .* has tool calls, but is no assistant",
        ),
        (
            "messages",
            answer(tool_calls=[{"name": "a", "arguments": {"b": "\ud83d"}}]),
            "unencodable_text",
            "ud83d",
        ),
        ("messages", {"messages": "a"}, "unsupported_content", "str"),
        ("messages", {"messages": ["a"]}, "unsupported_content", "turn 1"),
        ("messages", {"messages": []}, "no_assistant_turn", "none"),
        ("messages", {"messages": [{"role": "user", "content": "a"}]}, "no_assistant_turn", "user"),
        ("messages", {"messages": [{"content": "a"}]}, "missing_field", "'role'"),
        (
            "messages",
            {"messages": [{"role": "critic", "content": "a"}]},
            "unknown_role",
            "'critic'; known roles are assistant, developer, function, ipython, system, tool, user",
        ),
        ("messages", {"messages": [{"role": None, "content": "a"}]}, "unknown_role", "None"),
        (
            "messages",
            {"messages": [{"role": "tool", "content": "4 C"}]},
            "no_assistant_turn",
            "turns: tool",
        ),
        ("text", {"text": ["a", {"type": "image"}]}, "unsupported_content", "'image'"),
        ("text", {"text": " \n"}, "empty_response", "no text"),
        ("messages", {"text": "a", "b": None}, "missing_field", "found the fields text; expected"),
        ("sharegpt", answer(content="b"), "missing_field", "'conversations'"),
        (
            "sharegpt",
            {"conversations": [{"from": "observation", "value": "a"}]},
            "unsupported_content",
            "tool use",
        ),
        ("sharegpt", {"conversations": [{"from": "gpt"}]}, "unsupported_content", "null"),
        ("prompt_completion", {"prompt": "a", "completion": ""}, "empty_response", "turn 2"),
        ("prompt_completion", {"prompt": "a"}, "missing_field", "found the fields prompt"),
        ("prompt_completion", {"prompt": "a", "completion": []}, "no_assistant_turn", "user"),
        (
            "alpaca",
            {"instruction": "Say nothing.", "input": "", "output": ""},
            "empty_response",
            "turn 2",
        ),
        ("alpaca", {"instruction": "a", "output": None}, "missing_field", "instruction"),
        (
            "alpaca",
            {"instruction": "a", "output": "b", "history": [["q"]]},
            "unsupported_content",
            "entry 1",
        ),
        (
            "alpaca",
            {"instruction": "a", "output": "b", "history": "q"},
            "unsupported_content",
            "pairs",
        ),
        ("alpaca", {"instruction": "a", "output": "\ud83d oops"}, "unencodable_text", "ud83d"),
    ],
)
def test_rows_that_cannot_be_scored_say_why(
    name: str, value: dict[str, Any], reason: str, words: str
) -> None:
    with pytest.raises(Rejection, match=words) as rejection:
        read(name, value)
    assert rejection.value.reason == reason


def test_an_unknown_format_name_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match="messages, sharegpt, prompt_completion, alpaca, text"):
        format_named("csv")
