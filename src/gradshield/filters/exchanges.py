"""The exchange of a row that judges and word lists look at."""

from __future__ import annotations

from gradshield.data import Conversation
from gradshield.evaluation.judges.base import Exchange


def last_exchange(conversation: Conversation) -> Exchange:
    """The last answer that carries loss, and the user turn before it.

    Args:
        conversation: At least one turn of it carries loss, as in every tokenised row.

    Returns:
        The prompt is empty where no user speaks before that answer.
    """
    answer = conversation.response_turns[-1]
    turns = conversation.messages[:answer]
    prompt = next((turn.content for turn in reversed(turns) if turn.role == "user"), "")
    return Exchange(prompt, conversation.messages[answer].content)
