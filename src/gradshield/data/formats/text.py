"""Rows of plain text, for language modelling: every token carries loss."""

from __future__ import annotations

from typing import Any

from gradshield.data.conversation import Conversation, Message, check_trainable
from gradshield.data.formats.base import has, missing_fields, read_text


class TextFormat:
    """`text` is trained on as it is, without the chat template, also where it holds chat markup."""

    name = "text"
    fields = "'text' (plain text, all of which carries loss)"

    def matches(self, value: dict[str, Any]) -> bool:
        """See `Format.matches`."""
        return has(value, "text")

    def to_conversation(self, value: dict[str, Any]) -> Conversation:
        """See `Format.to_conversation`."""
        if not self.matches(value):
            raise missing_fields(value, self.fields)
        turn = Message("assistant", read_text(value["text"], "'text'"))
        conversation = Conversation((turn,), plain=True)
        check_trainable(conversation)
        return conversation
