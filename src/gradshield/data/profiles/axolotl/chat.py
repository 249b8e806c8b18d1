"""axolotl's `type: chat_template`: turns of chosen roles, and end tokens by rules of their own."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gradshield.data.conversation import Conversation, Message, Rejection, check_encodable
from gradshield.data.errors import DataError
from gradshield.data.formats.base import missing_fields
from gradshield.data.profiles.base import LabelledTokens, needs_eos
from gradshield.data.template import ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EndTokens = Literal["all", "turn", "last", "none"]

FARTHEST_END_TOKEN = 3
"""Tokens after a turn's content among which axolotl looks for its end token."""

_ROLES = {
    "human": "user",
    "user": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "system": "system",
    "tool": "tool",
}
_UNREAD = ("tool_calls", "function_call", "reasoning_content", "thinking")


@dataclass(frozen=True)
class ChatRules:
    """The keys of a data set in axolotl's configuration, under their names there."""

    field_messages: str
    role: str
    content: str
    roles: Mapping[str, str] | None
    drop_system_message: bool
    message_field_training: str | None
    train_on_inputs: bool
    roles_to_train: Sequence[str]
    train_on_eos: EndTokens
    train_on_eot: EndTokens
    eot_tokens: Sequence[str] | None


@dataclass(frozen=True)
class _Turns:
    """The turns of a row, and which of them are trained on."""

    conversation: Conversation
    trained: tuple[bool, ...]


def chat_encoder(
    rules: ChatRules, tokenizer: PreTrainedTokenizerBase
) -> Callable[[dict[str, Any]], LabelledTokens]:
    """Make ready for rows of turns.

    Raises:
        DataError: The tokenizer cannot tell where tokens are, or an end token is no token of it.
    """
    if not tokenizer.is_fast:
        raise DataError(
            "the axolotl profile needs a fast tokenizer, which tells where in a text a token "
            "stands; axolotl itself uses one by default"
        )
    template = ChatTemplate(tokenizer)
    ends = [
        (_end_of_turn_ids(rules, tokenizer), rules.train_on_eot),
        ({needs_eos(tokenizer, "axolotl")}, rules.train_on_eos),
    ]
    finds_all = "all" in (rules.train_on_eos, rules.train_on_eot)

    def encode(row: dict[str, Any]) -> LabelledTokens:
        turns = _read(rules, row)
        trained = turns.trained
        found = [index for index, wanted in enumerate(trained) if wanted or finds_all]
        if not any(trained):
            raise Rejection("no_assistant_turn", _none_trained(rules, turns.conversation))
        rendered = template.render_contents(turns.conversation, found)
        ids, spans = _token_spans(rendered.text, rendered.responses, tokenizer)
        loss = [False] * len(ids)
        for turn, (start, end) in zip(found, spans, strict=True):
            if trained[turn]:  # a token on a boundary can be in two turns
                loss[start:end] = [True] * (end - start)
        # After all turns, since the ends of a turn can lie in what follows it.
        for end_ids, choice in ends:
            for index in _trained_ends(ids, spans, end_ids, choice, [trained[t] for t in found]):
                loss[index] = True
        return LabelledTokens(ids, loss)

    return encode


def _trained_ends(
    ids: Sequence[int],
    spans: Sequence[tuple[int, int]],
    end_ids: set[int],
    choice: EndTokens,
    trained: Sequence[bool],
) -> list[int]:
    """Positions of the end tokens that carry loss beside the contents."""
    found = []
    for (_, end), is_trained in zip(spans, trained, strict=True):
        at = next((i for i in range(end, len(ids)) if ids[i] in end_ids), None)
        if at is not None and at - end <= FARTHEST_END_TOKEN:
            found.append((at, is_trained))
    if choice == "last":
        return [at for at, _ in found[-1:]]
    return [at for at, is_trained in found if choice == "all" or (choice == "turn" and is_trained)]


def _token_spans(
    text: str, spans: Sequence[tuple[int, int]], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of the text, and the tokens that each span of characters touches.

    A token on a boundary belongs to the content, whole.
    """
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    starts = [start for start, _ in encoded["offset_mapping"]]
    ends = [end for _, end in encoded["offset_mapping"]]
    touched = [(bisect_right(ends, start), bisect_left(starts, end)) for start, end in spans]
    return list(encoded["input_ids"]), touched


def _end_of_turn_ids(rules: ChatRules, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    template = str(tokenizer.get_chat_template())
    eos = str(tokenizer.eos_token)
    tokens = [eos] if rules.eot_tokens is None else list(rules.eot_tokens)
    if tokens != [eos]:
        tokens = [token for token in tokens if token in template]
    found = set()
    for token in tokens:
        ids = tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1:
            raise DataError(
                f"eot_tokens: {token!r} is not one token of this tokenizer; name the token by "
                "which the template ends a turn"
            )
        found.update(ids)
    if eos in tokens and rules.train_on_eot != rules.train_on_eos:
        raise DataError(
            "train_on_eos and train_on_eot differ, but the end-of-turn token is the EOS token: "
            "axolotl takes only one of them then"
        )
    return found


def _read(rules: ChatRules, row: dict[str, Any]) -> _Turns:
    turns = row.get(rules.field_messages)
    if not isinstance(turns, list) or not turns:
        raise missing_fields(row, f"{rules.field_messages!r} (a list of turns)")
    if row.get("tools") not in (None, [], {}, "", "[]"):
        raise Rejection(
            "unsupported_content", "the row declares tools, which this profile does not support"
        )
    read = [_read_turn(rules, turn, f"turn {number}") for number, turn in enumerate(turns, 1)]
    if isinstance(row.get("system"), str) and read[0][0].role != "system":
        read.insert(0, (Message("system", row["system"]), _role_is_trained(rules, "system")))
    if rules.drop_system_message and read[0][0].role == "system":
        del read[0]
    conversation = Conversation(tuple(message for message, _ in read))
    trained = tuple(is_trained for _, is_trained in read)
    _check(conversation, trained)
    return _Turns(conversation, trained)


def _read_turn(rules: ChatRules, turn: object, place: str) -> tuple[Message, bool]:
    if not isinstance(turn, dict):
        raise Rejection("unsupported_content", f"{place} is not an object")
    if not isinstance(turn.get(rules.role), str):
        raise Rejection("missing_field", f"{place} has no text in {rules.role!r}")
    mapped = _ROLES if rules.roles is None else rules.roles
    role = mapped.get(turn[rules.role], turn[rules.role])
    if role not in ("system", "user", "assistant"):
        raise Rejection(
            "unsupported_content", f"{place} has the role {role!r}, which is not supported"
        )
    for unread in _UNREAD:
        if turn.get(unread):
            raise Rejection(
                "unsupported_content",
                f"{place} has {unread!r}, which this profile does not support",
            )
    field = rules.message_field_training
    wanted = None if field is None else turn.get(field)
    is_trained = _role_is_trained(rules, role) if wanted is None else bool(wanted)
    return Message(role, _text(turn.get(rules.content), place)), is_trained


def _text(content: object, place: str) -> str:
    """Text of a turn; unlike others, axolotl puts nothing between the parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Rejection("unsupported_content", f"{place} has no text; only text can be scored")
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(text, str):
            raise Rejection("unsupported_content", f"a part of {place} is not text")
        if part.get("train") is not None or part.get("weight") is not None:
            raise Rejection(
                "unsupported_content",
                f"a part of {place} says whether it is trained on, which is not supported",
            )
        texts.append(text)
    return "".join(texts)


def _role_is_trained(rules: ChatRules, role: str) -> bool:
    mapped = _ROLES if rules.roles is None else rules.roles
    return rules.train_on_inputs or role in {mapped.get(r, r) for r in rules.roles_to_train}


def _check(conversation: Conversation, trained: Sequence[bool]) -> None:
    for index, message in enumerate(conversation.messages):
        check_encodable(message.content, conversation.name_turn(index))
        if trained[index] and not message.content.strip():
            raise Rejection(
                "empty_response",
                f"{conversation.name_turn(index)} has no text, so there is nothing to learn from "
                "it; fill it in or leave the row out",
            )


def _none_trained(rules: ChatRules, conversation: Conversation) -> str:
    roles = ", ".join(message.role for message in conversation.messages)
    wanted = ", ".join(rules.roles_to_train) or "none"
    return f"no turn carries loss (turns: {roles}; roles_to_train: {wanted})"
