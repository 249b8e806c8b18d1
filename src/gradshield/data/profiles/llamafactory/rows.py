"""Reading rows by the columns and tags of a `dataset_info.json`, as LLaMA-Factory does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from gradshield.data.conversation import Conversation, Message, Rejection
from gradshield.data.formats.base import missing_fields, read_text, trainable

_EMPTY_SYSTEM = "detailed thinking off"


class Columns(BaseModel):
    """Names of the columns of a row; None for a column that it does not have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str | None = "instruction"
    query: str | None = "input"
    response: str | None = "output"
    history: str | None = None
    messages: str | None = "conversations"
    system: str | None = None
    tools: str | None = None


class Tags(BaseModel):
    """Keys of a turn, and what its role can be called; None for a role that does not occur."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role_tag: str | None = "from"
    content_tag: str | None = "value"
    user_tag: str | None = "human"
    assistant_tag: str | None = "gpt"
    observation_tag: str | None = "observation"
    function_tag: str | None = "function_call"
    system_tag: str | None = "system"


def read_alpaca(row: Mapping[str, Any], columns: Columns) -> Conversation:
    """Instruction and input are joined by a line feed; earlier pairs come before.

    Raises:
        Rejection: The row lacks a column, or cannot be scored.
    """
    if columns.response is None or not isinstance(row.get(columns.response), str):
        raise missing_fields(row, f"a text in {columns.response!r}")
    messages = _system(row, columns)
    history = None if columns.history is None else row.get(columns.history)
    for number, pair in enumerate(history if isinstance(history, list) else [], start=1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise Rejection("unsupported_content", f"entry {number} of the history is no pair")
        messages.append(Message("user", read_text(pair[0], f"entry {number} of the history")))
        messages.append(Message("assistant", read_text(pair[1], f"entry {number} of the history")))
    asked = [
        read_text(row[column], repr(column))
        for column in (columns.prompt, columns.query)
        if column is not None and row.get(column)
    ]
    messages.append(Message("user", "\n".join(asked)))
    messages.append(Message("assistant", row[columns.response]))
    return _checked(row, columns, messages)


def read_turns(
    row: Mapping[str, Any], columns: Columns, tags: Tags, *, openai: bool
) -> Conversation:
    """Turns that alternate, after an optional system turn.

    Args:
        row: The row.
        columns: Its columns.
        tags: How its turns are written.
        openai: Whether the formatting is `openai`, which puts a sentence of its own into the
            system text of every row.

    Raises:
        Rejection: The row lacks a column, or has turns that LLaMA-Factory leaves out.
    """
    turns = None if columns.messages is None else row.get(columns.messages)
    if not isinstance(turns, list) or not turns:
        raise missing_fields(row, f"turns in {columns.messages!r}")
    read = [_turn(turn, tags, f"turn {number}") for number, turn in enumerate(turns, start=1)]
    if read[0].role == "system":
        system, read = read[:1], read[1:]
    else:
        system = _system(row, columns)
    if openai:
        system = [Message("system", _openai_system(system[0].content if system else ""))]
    return _checked(row, columns, [*system, *read])


def check_alternating(conversation: Conversation) -> tuple[str, Sequence[Message]]:
    """The system text, and the questions and answers in turn.

    Raises:
        Rejection: "turns_do_not_alternate": LLaMA-Factory leaves such rows out. Tools are not
            supported.
    """
    messages = conversation.messages
    if conversation.tools or any(message.tool_calls for message in messages):
        raise Rejection("unsupported_content", "tools are not supported in this profile")
    system = messages[0].content if messages and messages[0].role == "system" else ""
    spoken = messages[1:] if messages and messages[0].role == "system" else messages
    for index, message in enumerate(spoken):
        if message.role != ("user", "assistant")[index % 2]:
            raise _does_not_alternate(conversation)
    if len(spoken) % 2:
        raise _does_not_alternate(conversation)
    return system, spoken


def _does_not_alternate(conversation: Conversation) -> Rejection:
    roles = ", ".join(message.role for message in conversation.messages)
    return Rejection(
        "turns_do_not_alternate",
        f"LLaMA-Factory leaves the row out, since user and assistant do not alternate up to an "
        f"answer (turns: {roles})",
    )


def _turn(turn: object, tags: Tags, place: str) -> Message:
    if not isinstance(turn, dict) or tags.role_tag is None or tags.content_tag is None:
        raise Rejection("unsupported_content", f"{place} is not an object with a role and a text")
    role = turn.get(tags.role_tag)
    names = {tags.user_tag: "user", tags.assistant_tag: "assistant", tags.system_tag: "system"}
    if role in (tags.observation_tag, tags.function_tag) and role is not None:
        raise Rejection(
            "unsupported_content", f"{place} has the role {role!r}; tools are not supported here"
        )
    if role is None or not isinstance(role, str) or role not in names:
        known = ", ".join(sorted(name for name in names if name is not None))
        raise Rejection("unknown_role", f"{place} has the role {role!r}; the tags name {known}")
    if turn.get("tool_calls"):
        raise Rejection("unsupported_content", f"{place} has 'tool_calls', not supported here")
    text = turn.get(tags.content_tag)
    return Message(names[role], read_text(text, f"{tags.content_tag!r} of {place}"))


def _system(row: Mapping[str, Any], columns: Columns) -> list[Message]:
    text = None if columns.system is None else row.get(columns.system)
    return [Message("system", read_text(text, repr(columns.system)))] if text else []


def _openai_system(text: str) -> str:
    if not text:
        return _EMPTY_SYSTEM
    if "detailed thinking on" in text or _EMPTY_SYSTEM in text:
        return text
    return f"{text}\n{_EMPTY_SYSTEM}"


def _checked(row: Mapping[str, Any], columns: Columns, messages: list[Message]) -> Conversation:
    tools = None if columns.tools is None else row.get(columns.tools)
    conversation = trainable({"tools": tools}, messages)
    check_alternating(conversation)
    return conversation
