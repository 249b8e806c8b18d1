"""Rows with a list of turns that have `role` and `content`."""

from __future__ import annotations

from typing import Any

from gradshield.data.conversation import Conversation
from gradshield.data.formats.base import has, missing_fields, read_turns, trainable
from gradshield.data.formats.sharegpt import SharegptFormat

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
    "ipython": "tool",
}


class MessagesFormat:
    """`messages`, or `conversations` whose turns have the same keys; the chat form of OpenAI.

    A turn may call tools (`tool_calls`, or `function_call` as it was once written) and have
    reasoning; the row may declare `tools` (or `functions`). Other columns, such as a `prompt` that
    repeats the first turn, are not read.
    """

    name = "messages"
    fields = "'messages' (turns with 'role' and 'content')"

    def matches(self, value: dict[str, Any]) -> bool:
        """See `Format.matches`."""
        if SharegptFormat().matches(value):
            return False
        return has(value, "messages") or has(value, "conversations")

    def to_conversation(self, value: dict[str, Any]) -> Conversation:
        """See `Format.to_conversation`."""
        field = "messages" if has(value, "messages") else "conversations"
        if not has(value, field):
            raise missing_fields(value, self.fields)
        return trainable(value, read_turns(value[field], field, roles=ROLES))
