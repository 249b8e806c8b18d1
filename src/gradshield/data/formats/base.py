"""What a row format is, and reading turns, which most formats share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from gradshield.data.conversation import Conversation, Message, Rejection, check_trainable
from gradshield.data.formats.tools import read_tools, read_turn_fields

_TOOL_ROLES = frozenset({"tool", "function", "ipython", "function_call", "observation"})


class Format(Protocol):
    """A way to write a training example as the fields of a row; one object a format."""

    name: str
    fields: str
    """The fields a row of this format has, for messages."""

    def matches(self, value: dict[str, Any]) -> bool:
        """Whether the row has the fields of this format; their values may still be wrong."""

    def to_conversation(self, value: dict[str, Any]) -> Conversation:
        """The conversation in the row.

        Raises:
            Rejection: The row is not of this format, or cannot be scored.
        """


def has(value: Mapping[str, Any], *fields: str) -> bool:
    """Whether all fields are present; null counts as absent, since columnar files add nulls."""
    return all(value.get(field) is not None for field in fields)


def missing_fields(value: Mapping[str, Any], expected: str) -> Rejection:
    """The rejection of a row without the fields it needs."""
    found = ", ".join(sorted(key for key in value if value[key] is not None)) or "none"
    return Rejection("missing_field", f"found the fields {found}; expected {expected}")


def trainable(value: Mapping[str, Any], messages: list[Message]) -> Conversation:
    """The conversation of the messages, if the row and they are fit for training.

    Raises:
        Rejection: See `check_trainable` and `read_tools`.
    """
    conversation = Conversation(tuple(messages), read_tools(value))
    check_trainable(conversation)
    return conversation


def read_turns(
    turns: object,
    where: str,
    *,
    role_field: str = "role",
    content_field: str = "content",
    roles: Mapping[str, str],
) -> list[Message]:
    """Messages from a list of objects, one a turn.

    Args:
        turns: The value of the field that `where` names.
        where: Name of that field, for messages.
        role_field: Key of a turn that holds the role.
        content_field: Key of a turn that holds the text.
        roles: Accepted roles in lower case, and the standard role of each.

    Raises:
        Rejection: Something in the list is not a turn that can be read.
    """
    if not isinstance(turns, list):
        kind = type(turns).__name__
        raise Rejection("unsupported_content", f"{where!r} must be a list of turns, not {kind}")
    messages = []
    for number, turn in enumerate(turns, start=1):
        place = f"turn {number} of {where!r}"
        if not isinstance(turn, dict):
            raise Rejection("unsupported_content", f"{place} is not an object")
        if role_field not in turn:
            raise Rejection("missing_field", f"{place} has no field {role_field!r}")
        role = _standard_role(turn[role_field], roles, place)
        fields = read_turn_fields(turn, role, place)
        content: str = ""
        left_out: dict[str, int] = {}
        if turn.get(content_field) is None and "tool_calls" in fields:
            fields["content"] = None
        else:
            content, left_out = _read_parts(
                turn.get(content_field), f"{content_field!r} of {place}"
            )
        supervised = _is_supervised(turn, place)
        messages.append(Message(role, content, supervised, fields, left_out))
    return messages


def read_text(content: object, place: str) -> str:
    """Text from a string or from a list of text parts.

    Parts are joined by a line feed, so that words of neighbouring parts do not run together.

    Raises:
        Rejection: "unsupported_content" for null, images and anything else that is not text.
    """
    text, left_out = _read_parts(content, place)
    for kind in left_out:
        raise Rejection(
            "unsupported_content", f"{place} has a part of type {kind!r}; only text can be scored"
        )
    return text


def _read_parts(content: object, place: str) -> tuple[str, dict[str, int]]:
    """The text of a turn, and how many parts of which type are not in it.

    Raises:
        Rejection: "unsupported_content" for what is neither text nor a list of parts.
    """
    if isinstance(content, str):
        return content, {}
    if not isinstance(content, list):
        kind = "null" if content is None else f"a {type(content).__name__}"
        raise Rejection("unsupported_content", f"{place} is {kind}; only text can be scored")
    texts = []
    left_out: Counter[str] = Counter()
    for number, part in enumerate(content, start=1):
        text = part.get("text") if isinstance(part, dict) else part
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind != "text" and isinstance(kind, str):
            left_out[kind] += 1
        elif isinstance(text, str):
            texts.append(text)
        else:
            raise Rejection(
                "unsupported_content",
                f"part {number} in {place} is not text (type {kind!r}); only text can be scored",
            )
    return "\n".join(texts), dict(left_out)


def _standard_role(role: object, roles: Mapping[str, str], place: str) -> str:
    name = role.lower() if isinstance(role, str) else ""
    if name in roles:
        return roles[name]
    if name in _TOOL_ROLES:
        raise Rejection(
            "unsupported_content", f"{place} has the role {role!r}; tool use is not supported yet"
        )
    known = ", ".join(sorted(roles))
    raise Rejection("unknown_role", f"{place} has the role {role!r}; known roles are {known}")


def _is_supervised(turn: Mapping[str, Any], place: str) -> bool:
    """False for a turn with the weight 0 that some training services know."""
    weight = turn.get("weight")
    if weight not in (None, 0, 1):
        raise Rejection(
            "unsupported_content", f"{place} has the weight {weight!r}; only 0 and 1 are supported"
        )
    return weight != 0
