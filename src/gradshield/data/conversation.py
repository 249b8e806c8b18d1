"""Conversations, and why a row cannot be made into one that is fit for training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Fields of a turn that hold the reasoning before an answer, by the names that templates read."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: "system", "user", "assistant" or "tool".
        content: The text, exactly as the row has it; empty where the row has null.
        supervised: False for an assistant turn that belongs to the prompt and carries no loss;
            turns of other roles never carry loss, whatever this says.
        fields: Further fields for the chat template: `tool_calls`, `tool_call_id`, `name`, those
            of `REASONING_FIELDS`, and `content` if it is null in the row.
        left_out: Number of parts of the content that are no text, by their type.
    """

    role: str
    content: str
    supervised: bool = True
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    left_out: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """Calls of tools, each with a `function` that has `name` and `arguments`."""
        calls: list[dict[str, Any]] = self.fields.get("tool_calls") or []
        return calls


@dataclass(frozen=True)
class Conversation:
    """Turns in the order in which they were spoken.

    Attributes:
        messages: The turns.
        tools: Declarations of the tools that may be called, as the chat template gets them.
        plain: The only turn is a text that is trained on as it is: no chat template.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    plain: bool = False

    @property
    def response_turns(self) -> tuple[int, ...]:
        """0-based indices of the turns that carry loss."""
        return tuple(
            index
            for index, message in enumerate(self.messages)
            if message.role == "assistant" and message.supervised
        )

    @property
    def parts_left_out(self) -> tuple[str, ...]:
        """Parts of contents that are no text, one entry a part."""
        return tuple(
            f"{kind} part"
            for message in self.messages
            for kind, count in message.left_out.items()
            for _ in range(count)
        )

    def only_last_response(self) -> Conversation:
        """The same turns, of which only the last of `response_turns` carries loss."""
        earlier = self.response_turns[:-1]
        messages = (
            replace(message, supervised=False) if index in earlier else message
            for index, message in enumerate(self.messages)
        )
        return replace(self, messages=tuple(messages))

    def name_turn(self, index: int) -> str:
        """How messages to people call the turn at `index`; turns are counted from 1."""
        return f"turn {index + 1} ({self.messages[index].role})"


@dataclass(frozen=True)
class Preference:
    """Two answers to one prompt, of which training is to prefer the first.

    Both conversations have the same turns but for the last one, which alone carries loss.
    """

    chosen: Conversation
    rejected: Conversation


class Rejection(Exception):  # noqa: N818 - an outcome of a row, not an error of the program
    """A row that cannot be scored.

    Attributes:
        reason: A short code that stays the same between versions, such as "empty_response".
        detail: A sentence that names the turn or field, and what to do.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")

    def __reduce__(self) -> tuple[type[Rejection], tuple[str, str]]:
        # The default would call the constructor with the joined text only.
        return (Rejection, (self.reason, self.detail))


def check_trainable(conversation: Conversation) -> None:
    """Refuse a conversation that no response tokens can be taken from.

    An answer of white space only, without a tool call, counts as empty: with it nothing but the
    end-of-turn token would carry loss. The rule is the same for every format.

    Raises:
        Rejection: "no_assistant_turn", "empty_response", or "unencodable_text" for half of a
            surrogate pair, which has no UTF-8 form, so that no tokenizer takes it.
    """
    for index, message in enumerate(conversation.messages):
        check_encodable([message.content, message.fields], conversation.name_turn(index))
    check_encodable(conversation.tools, "a tool")
    if not conversation.response_turns:
        roles = ", ".join(message.role for message in conversation.messages) or "none"
        raise Rejection(
            "no_assistant_turn",
            f"no assistant turn carries loss (turns: {roles}); add the answer to train on",
        )
    for index in conversation.response_turns:
        message = conversation.messages[index]
        if not message.content.strip() and not message.tool_calls:
            raise Rejection(
                "empty_response",
                f"{conversation.name_turn(index)} has no text, so there is nothing to learn "
                "from it; fill it in or leave the row out",
            )


def strings(value: object) -> Iterator[str]:
    """Every text inside a value made of lists and objects, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def check_encodable(value: object, place: str) -> None:
    """Refuse half of a surrogate pair, which has no UTF-8 form, so that no tokenizer takes it.

    Args:
        value: A text, or a value made of lists and objects with texts in it.
        place: What it is, for the message.

    Raises:
        Rejection: "unencodable_text".
    """
    for text in strings(value):
        half = next((c for c in text if "\ud800" <= c <= "\udfff"), None)
        if half is not None:
            raise Rejection(
                "unencodable_text",
                f"{place} contains half of a surrogate pair (\\u{ord(half):04x}), which no "
                "tokenizer can encode; repair the text",
            )
