"""Preference rows: a prompt, the answer to prefer, and the answer to prefer it to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gradshield.data.conversation import Conversation, Message, Preference, Rejection
from gradshield.data.formats.alpaca import AlpacaFormat
from gradshield.data.formats.base import has, missing_fields, read_text, read_turns, trainable
from gradshield.data.formats.implicit_prompt import split_texts, split_turns
from gradshield.data.formats.messages import ROLES
from gradshield.data.formats.sharegpt import ROLES as SHAREGPT_ROLES

_SIDES = ("chosen", "rejected")


class PreferenceFormat:
    """`chosen` and `rejected`, as TRL and LLaMA-Factory have them.

    A side is a text, a turn or a list of turns. The prompt is `prompt` (a text or turns), earlier
    turns in `conversations` or `messages`, or `instruction` and `input`; or both sides begin with
    it. Sides that begin with a turn of the user hold their own prompt, whatever else is there.
    Only the two answers carry loss.
    """

    name = "preference"
    fields = (
        "'chosen' and 'rejected' (with 'prompt', 'conversations' or 'instruction', or beginning "
        "with the same prompt)"
    )

    def matches(self, value: dict[str, Any]) -> bool:
        """Both keys are there; one may be null, which is a fault of the row and no other format."""
        return all(side in value for side in _SIDES) and any(has(value, side) for side in _SIDES)

    def to_conversation(self, value: dict[str, Any]) -> Conversation:
        """A preference row is no plain row; see `Format.to_conversation`."""
        raise Rejection(
            "preference_row",
            "the row has a 'chosen' and a 'rejected' answer, where rows with one answer are "
            "expected; keep preference rows in a file of their own",
        )

    def to_preference(self, value: dict[str, Any]) -> Preference:
        """The two conversations in the row.

        Raises:
            Rejection: The row is not of this format, a side is null or empty, the prompts differ,
                or something in it cannot be scored.
        """
        prompt, chosen, rejected = _parts(value)
        unsupervised = [replace(turn, supervised=False) for turn in prompt]
        return Preference(
            *(
                _whole(value, unsupervised, answer, side)
                for side, answer in zip(_SIDES, (chosen, rejected), strict=True)
            )
        )


def _parts(value: dict[str, Any]) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt, chosen and rejected answer."""
    chosen, rejected = (_side(value, side) for side in _SIDES)
    own_prompt = [bool(side) and side[0].role != "assistant" for side in (chosen, rejected)]
    if any(own_prompt):
        return split_turns(chosen, rejected)
    prompt = _prompt(value)
    if prompt is not None:
        return prompt, chosen, rejected
    if isinstance(value["chosen"], str) and isinstance(value["rejected"], str):
        return split_texts(value["chosen"], value["rejected"])
    raise missing_fields(value, PreferenceFormat.fields)


def _side(value: dict[str, Any], field: str) -> list[Message]:
    content = value.get(field)
    if content is None:
        raise Rejection(
            "missing_side", f"{field!r} is null or not there: a preference needs both answers"
        )
    if isinstance(content, str):
        return [Message("assistant", content)]
    return _turns([content] if isinstance(content, dict) else content, field)


def _turns(turns: object, field: str) -> list[Message]:
    """Turns with `from` and `value`, or with `role` and `content`."""
    first = turns[0] if isinstance(turns, list) and turns else None
    if isinstance(first, dict) and "from" in first:
        return read_turns(
            turns, field, role_field="from", content_field="value", roles=SHAREGPT_ROLES
        )
    return read_turns(turns, field, roles=ROLES)


def _prompt(value: dict[str, Any]) -> list[Message] | None:
    """The prompt that the row names, None if it names none."""
    field = next((f for f in ("prompt", "conversations", "messages") if has(value, f)), None)
    if field is None:
        if not has(value, "instruction"):
            return None
        # The answer is not needed, but its format insists on one.
        whole = AlpacaFormat().to_conversation({**value, "output": "-"})
        return list(whole.messages[:-1])
    if isinstance(value[field], str):
        turns = [Message("user", value[field])]
    else:
        turns = _turns(value[field], field)
    if value.get("system"):
        turns.insert(0, Message("system", read_text(value["system"], "'system'")))
    return turns


def _whole(
    value: dict[str, Any], prompt: list[Message], answer: list[Message], side: str
) -> Conversation:
    """Prompt and answer as a conversation that is fit for training."""
    if not answer:
        raise Rejection("empty_response", f"{side!r} holds no answer after the prompt")
    if len(answer) > 1:
        raise Rejection(
            "unsupported_content",
            f"{side!r} goes on for {len(answer)} turns after the prompt, and an answer of one turn "
            "is expected; move the turns that both sides share into the prompt",
        )
    if not prompt or prompt[-1].role == "assistant":
        raise Rejection(
            "no_prompt", f"{side!r} answers no turn of the user; put the question into 'prompt'"
        )
    if not answer[0].content.strip():
        raise Rejection("empty_response", f"{side!r} has no text; fill it in or leave the row out")
    return trainable(value, [*prompt, *answer])
