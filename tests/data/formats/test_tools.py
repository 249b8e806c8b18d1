"""The OpenAI chat form in full: tools, their calls, reasoning, weights and parts."""

from __future__ import annotations

from typing import Any

import pytest

from gradshield.data import Conversation, format_named
from gradshield.data.formats.tools import read_tools, read_turn_fields, without_nulls

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
ARGUMENTS = '{"city": "Oslo"}'


def call(arguments: Any = ARGUMENTS) -> dict[str, Any]:
    return {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": arguments},
    }


def read(*turns: dict[str, Any], **fields: Any) -> Conversation:
    row = {"messages": [{"role": "user", "content": "a"}, *turns], **fields}
    return format_named("messages").to_conversation(row)


CALLING = {"role": "assistant", "content": None, "tool_calls": [call()]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "4 C"}
ANSWER = {"role": "assistant", "content": "4 degrees."}


def test_a_conversation_with_a_tool_is_read_whole() -> None:
    conversation = read(CALLING, RESULT, ANSWER, tools=[TOOL])
    assert [m.role for m in conversation.messages] == ["user", "assistant", "tool", "assistant"]
    assert conversation.messages[1].content == ""
    assert conversation.messages[1].fields == {
        "content": None,
        "tool_calls": [call({"city": "Oslo"})],
    }
    assert conversation.messages[2].fields == {"tool_call_id": "c1"}
    assert conversation.tools == (TOOL,)
    # The call carries loss, what the tool says does not.
    assert conversation.response_turns == (1, 3)
    hash(conversation)


@pytest.mark.parametrize(
    "turn",
    [
        {"content": None, "function_call": {"name": "weather", "arguments": ARGUMENTS}},
        {"function_call": {"name": "weather", "arguments": ARGUMENTS}},
        {"tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]},
        {
            "content": None,
            "tool_calls": [{"function": {"name": "weather", "arguments": ARGUMENTS}}],
        },
    ],
)
def test_older_and_shorter_ways_to_write_a_call(turn: dict[str, Any]) -> None:
    found = read({"role": "assistant", **turn}).messages[1].tool_calls
    assert found == [
        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    ]


def test_results_of_the_older_way() -> None:
    conversation = read(
        {"role": "assistant", "function_call": {"name": "weather", "arguments": "{}"}},
        {"role": "function", "name": "weather", "content": "4 C"},
        functions=[TOOL["function"]],
    )
    assert conversation.messages[2].role == "tool"
    assert conversation.messages[2].fields == {"name": "weather"}
    assert conversation.tools == (TOOL,)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", ""),
        ("{}", {}),
        ("no JSON", "no JSON"),
        ("[1]", "[1]"),
        ({"a": None, "b": [{"c": None}]}, {"b": [{}]}),
        (None, {}),
    ],
)
def test_arguments_become_an_object_where_they_are_one(arguments: Any, expected: Any) -> None:
    fields = read_turn_fields({"tool_calls": [call(arguments)]}, "assistant", "turn 1")
    assert fields["tool_calls"][0]["function"]["arguments"] == expected


@pytest.mark.parametrize("tools", [None, [], "", "[]", {}])
def test_no_tools(tools: Any) -> None:
    assert read_tools({"tools": tools}) == ()


def test_tools_as_json_text_and_with_nulls_of_a_table() -> None:
    assert read_tools({"tools": '[{"name": "a"}]'}) == ({"name": "a"},)
    assert read_tools({"tools": ['{"name": "a"}']}) == ({"name": "a"},)
    assert read_tools({"tools": [{"name": "a", "other": None}]}) == ({"name": "a"},)


@pytest.mark.parametrize("functions", [["name"], "text", [{"x": 1}], 3])
def test_a_column_that_happens_to_be_called_functions(functions: Any) -> None:
    assert read_tools({"functions": functions}) == ()


def test_nulls_are_taken_out_at_any_depth() -> None:
    value = {"a": None, "b": [None, {"c": None, "d": 0}], "e": ""}
    assert without_nulls(value) == {"b": [None, {"d": 0}], "e": ""}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_goes_to_the_template_under_its_own_name(name: str) -> None:
    conversation = read({"role": "assistant", "content": "b", name: "r"})
    assert conversation.messages[1].fields == {name: "r"}


def test_parts_that_are_no_text_are_counted() -> None:
    content = [
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "y"}},
        {"type": "input_audio"},
    ]
    conversation = read({"role": "user", "content": content}, {"role": "assistant", "content": "b"})
    assert conversation.messages[1].content == "What is it?"
    assert conversation.messages[1].left_out == {"image_url": 2, "input_audio": 1}


def test_weights_count_for_calls_too() -> None:
    assert read({**CALLING, "weight": 0}, RESULT, ANSWER).response_turns == (3,)
