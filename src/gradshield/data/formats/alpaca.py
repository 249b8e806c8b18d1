"""Alpaca rows: `instruction`, `input` and `output`."""

from __future__ import annotations

from typing import Any

from gradshield.data.conversation import Conversation, Message, Rejection
from gradshield.data.formats.base import has, missing_fields, read_text, trainable


class AlpacaFormat:
    """Instruction and input are joined by a blank line and become the user's turn.

    `system` is optional. `history` is an optional list of [instruction, answer] pairs that came
    before; its answers carry loss like any other answer.
    """

    name = "alpaca"
    fields = "'instruction' and 'output' (optional: 'input', 'system', 'history')"

    def matches(self, value: dict[str, Any]) -> bool:
        """See `Format.matches`."""
        return has(value, "instruction", "output")

    def to_conversation(self, value: dict[str, Any]) -> Conversation:
        """See `Format.to_conversation`."""
        if not self.matches(value):
            raise missing_fields(value, self.fields)
        messages = []
        if value.get("system"):
            messages.append(Message("system", read_text(value["system"], "'system'")))
        messages += _history(value.get("history") or [])
        asked = [read_text(value["instruction"], "'instruction'")]
        if value.get("input"):
            asked.append(read_text(value["input"], "'input'"))
        messages.append(Message("user", "\n\n".join(asked)))
        messages.append(Message("assistant", read_text(value["output"], "'output'")))
        return trainable(value, messages)


def _history(pairs: object) -> list[Message]:
    if not isinstance(pairs, list):
        raise Rejection("unsupported_content", "'history' must be a list of pairs")
    messages = []
    for number, pair in enumerate(pairs, start=1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise Rejection("unsupported_content", f"entry {number} of 'history' is not a pair")
        place = f"entry {number} of 'history'"
        messages.append(Message("user", read_text(pair[0], place)))
        messages.append(Message("assistant", read_text(pair[1], place)))
    return messages
