"""Conversations, and why a row cannot be made into one that is fit for training."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: "system", "user" or "assistant".
        content: The text, exactly as the row has it.
        supervised: False for an assistant turn that belongs to the prompt and carries no loss;
            turns of other roles never carry loss, whatever this says.
    """

    role: str
    content: str
    supervised: bool = True


@dataclass(frozen=True)
class Conversation:
    """Turns in the order in which they were spoken."""

    messages: tuple[Message, ...]

    @property
    def response_turns(self) -> tuple[int, ...]:
        """0-based indices of the turns that carry loss."""
        return tuple(
            index
            for index, message in enumerate(self.messages)
            if message.role == "assistant" and message.supervised
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

    An answer of white space only counts as empty: with it nothing but the end-of-turn token
    would carry loss. The rule is the same for every format.

    Raises:
        Rejection: "no_assistant_turn", "empty_response", or "unencodable_text" for half of a
            surrogate pair, which has no UTF-8 form, so that no tokenizer takes it.
    """
    for index, message in enumerate(conversation.messages):
        check_encodable(message.content, conversation.name_turn(index))
    if not conversation.response_turns:
        roles = ", ".join(message.role for message in conversation.messages) or "none"
        raise Rejection(
            "no_assistant_turn",
            f"no assistant turn carries loss (turns: {roles}); add the answer to train on",
        )
    for index in conversation.response_turns:
        if not conversation.messages[index].content.strip():
            raise Rejection(
                "empty_response",
                f"{conversation.name_turn(index)} has no text, so there is nothing to learn "
                "from it; fill it in or leave the row out",
            )


def check_encodable(text: str, place: str) -> None:
    """Refuse half of a surrogate pair, which has no UTF-8 form, so that no tokenizer takes it.

    Raises:
        Rejection: "unencodable_text".
    """
    half = next((c for c in text if "\ud800" <= c <= "\udfff"), None)
    if half is not None:
        raise Rejection(
            "unencodable_text",
            f"{place} contains half of a surrogate pair (\\u{ord(half):04x}), which no tokenizer "
            "can encode; repair the text",
        )
