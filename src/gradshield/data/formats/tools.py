"""Tools, their calls and reasoning: what a turn has beside its text, as chat templates want it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gradshield.data.conversation import REASONING_FIELDS, Rejection

# Read by some templates and harmless to the others.
_PASSED_ON = ("name", "tool_call_id")


def read_tools(value: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The tools that a row declares: `tools`, or the older `functions`, or JSON text of a list.

    Raises:
        Rejection: They are no list of objects.
    """
    tools = _parsed(value.get("tools")) or []
    if not isinstance(tools, list):
        raise Rejection("unsupported_content", "'tools' must be a list of objects")
    if not tools:
        tools = _older_tools(value.get("functions"))
    tools = [_parsed(tool) for tool in tools]
    for number, tool in enumerate(tools, start=1):
        if not isinstance(tool, dict):
            raise Rejection("unsupported_content", f"entry {number} of 'tools' is not an object")
    return tuple(without_nulls(tool) for tool in tools)


def _older_tools(functions: Any) -> list[dict[str, Any]]:
    """The older form; a column of that name may also be something else, which is not read."""
    if not isinstance(functions, list):
        return []
    if not all(isinstance(function, dict) and "name" in function for function in functions):
        return []
    return [{"type": "function", "function": function} for function in functions]


def read_turn_fields(turn: Mapping[str, Any], role: str, place: str) -> dict[str, Any]:
    """What a turn has beside its text that a chat template may print.

    Arguments that are JSON text of an object become that object, which is what templates expect.

    Raises:
        Rejection: A field is not as it has to be, or belongs to another role.
    """
    fields = {name: turn[name] for name in _PASSED_ON if isinstance(turn.get(name), str)}
    calls = turn.get("tool_calls") or []
    if turn.get("function_call"):
        calls = [{"type": "function", "function": turn["function_call"]}]
    reasoning = {name: turn[name] for name in REASONING_FIELDS if turn.get(name)}
    if (calls or reasoning) and role != "assistant":
        name = "tool calls" if calls else next(iter(reasoning))
        raise Rejection("unsupported_content", f"{place} has {name}, but is no assistant turn")
    for name, text in reasoning.items():
        if not isinstance(text, str):
            raise Rejection("unsupported_content", f"{name!r} of {place} is not text")
    if calls:
        if not isinstance(calls, list):
            raise Rejection("unsupported_content", f"'tool_calls' of {place} is not a list")
        fields["tool_calls"] = [
            _call(call, f"tool call {number} of {place}") for number, call in enumerate(calls, 1)
        ]
    return {**fields, **reasoning}


def without_nulls(value: Any) -> Any:
    """The value without null entries of objects, at any depth.

    Columnar files give every object the keys of all others. Trainers take them out again.
    """
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _call(call: object, place: str) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise Rejection("unsupported_content", f"{place} is not an object")
    stated: dict[str, Any] = without_nulls(call)
    function = stated.get("function", stated if "name" in stated else None)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Rejection("unsupported_content", f"{place} has no function with a name")
    arguments = function.get("arguments", {})
    parsed = without_nulls(_parsed(arguments))
    if isinstance(parsed, dict):
        arguments = parsed
    elif not isinstance(arguments, str):
        raise Rejection("unsupported_content", f"the arguments of {place} are not an object")
    outer: dict[str, Any] = {key: stated[key] for key in ("id", "index") if key in stated}
    named = {"name": function["name"], "arguments": arguments}
    return {**outer, "type": "function", "function": named}


def _parsed(value: Any) -> Any:
    """The value of JSON text, None of blank text, anything else as it is."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
