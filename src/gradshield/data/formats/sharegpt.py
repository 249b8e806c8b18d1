"""ShareGPT rows: `conversations` with turns that have `from` and `value`."""

from __future__ import annotations

from typing import Any

from gradshield.data.conversation import Conversation, Message
from gradshield.data.formats.base import has, missing_fields, read_text, read_turns, trainable

ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
}


class SharegptFormat:
    """`conversations` and an optional `system` text beside it."""

    name = "sharegpt"
    fields = "'conversations' (turns with 'from' and 'value')"

    def matches(self, value: dict[str, Any]) -> bool:
        """See `Format.matches`."""
        turns = value.get("conversations")
        return isinstance(turns, list) and any(
            isinstance(turn, dict) and "from" in turn for turn in turns[:1]
        )

    def to_conversation(self, value: dict[str, Any]) -> Conversation:
        """See `Format.to_conversation`."""
        if not has(value, "conversations"):
            raise missing_fields(value, self.fields)
        messages = read_turns(
            value["conversations"],
            "conversations",
            role_field="from",
            content_field="value",
            roles=ROLES,
        )
        if value.get("system"):
            messages.insert(0, Message("system", read_text(value["system"], "'system'")))
        return trainable(value, messages)
