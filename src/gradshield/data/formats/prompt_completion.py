"""Rows with a `prompt` and a `completion`, each a text or a list of turns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gradshield.data.conversation import Conversation, Message
from gradshield.data.formats.base import has, missing_fields, read_text, read_turns, trainable
from gradshield.data.formats.messages import ROLES


class PromptCompletionFormat:
    """A text becomes one turn, of the user or of the assistant; both go through the template.

    Assistant turns in a prompt that is a list of turns are part of the prompt: no loss.
    """

    name = "prompt_completion"
    fields = "'prompt' and 'completion' (texts, or lists of turns)"

    def matches(self, value: dict[str, Any]) -> bool:
        """See `Format.matches`."""
        return has(value, "prompt", "completion")

    def to_conversation(self, value: dict[str, Any]) -> Conversation:
        """See `Format.to_conversation`."""
        if not self.matches(value):
            raise missing_fields(value, self.fields)
        prompt = [replace(message, supervised=False) for message in _side(value, "prompt", "user")]
        return trainable(value, prompt + _side(value, "completion", "assistant"))


def _side(value: dict[str, Any], field: str, role: str) -> list[Message]:
    if isinstance(value[field], list):
        return read_turns(value[field], field, roles=ROLES)
    return [Message(role, read_text(value[field], repr(field)))]
