"""Finding answers in a rendered conversation by rendering it a second time with landmarks.

A chat template decides what becomes of an answer: it may trim it, cut its reasoning, or print a
prefix of the turns otherwise than the same turns within a longer conversation. So nothing is
assumed about prefixes. Every answer is replaced by a unique word, the landmark; the text around
the landmarks is the *glue*, g_0 ... g_n, which the template prints whatever the answers are. In
the rendering with the real answers, what stands between two pieces of glue is an answer x_i, and
the parts must add up: g_0 x_1 g_1 ... x_n g_n is the whole text, or the template is refused.

Turns with tool calls or fields of reasoning have several landmarks and markup of the template's own
around them; `gradshield.data.turn_edges` says where they begin and end, so that all of it is x_i.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradshield.data.conversation import (
    REASONING_FIELDS,
    Conversation,
    Message,
    Rejection,
    strings,
)

_REASONING_START, _REASONING_END = "<think>", "</think>"


@dataclass(frozen=True)
class Landmark:
    """What stands for one answer in the second rendering.

    Attributes:
        turn: 0-based index of the turn.
        answer: The landmark of the answer.
        reasoning: The landmark of its reasoning, if the answer has any.
        call: What the landmarks of its tool calls begin with: their numbers follow, and a "V" for
            arguments.
        printed: For a turn whose edges are known, which texts the template prints: "A" for the
            answer, "R" for reasoning, "C" for calls.
    """

    turn: int
    answer: str
    reasoning: str
    call: str = ""
    printed: frozenset[str] = frozenset()

    def stand_in_for(self, message: Message) -> Message:
        """The turn with landmarks in place of its texts, the names and the arguments of calls."""
        fields = dict(message.fields)
        fields.update({name: self.reasoning for name in REASONING_FIELDS if name in fields})
        if message.tool_calls:
            fields["tool_calls"] = [
                self._call(call, f"{self.call}{number}")
                for number, call in enumerate(message.tool_calls)
            ]
        silent = message.tool_calls and not message.content.strip()
        content = message.content if silent else self.stand_in(message.content)
        return Message(message.role, content, fields=fields)

    @staticmethod
    def _call(call: dict[str, Any], mark: str) -> dict[str, Any]:
        argument = f"{mark}V"
        is_text = isinstance(call["function"]["arguments"], str)
        arguments = argument if is_text else {argument: argument}
        return {**call, "function": {"name": mark, "arguments": arguments}}

    def stand_in(self, content: str) -> str:
        """Content with the structure of `content`, so that a template takes the same branches.

        Templates look for the end of a reasoning block in an answer, and some print an empty
        block for an answer without one.
        """
        if _REASONING_END not in content:
            return self.answer
        start = _REASONING_START if _REASONING_START in content else ""
        return f"{start}{self.reasoning}{_REASONING_END}{self.answer}"

    def collapse(self, marked: str) -> str:
        """Reduce a printed reasoning block and the answer after it to the answer's landmark."""
        block = rf"(?:{_REASONING_START}\s*)?{self.reasoning}\s*{_REASONING_END}\s*{self.answer}"
        return re.sub(block, self.answer, marked)


def place_landmarks(
    conversation: Conversation, turns: Sequence[int]
) -> tuple[Conversation, list[Landmark]]:
    """The conversation with landmarks in place of the contents of `turns`."""
    stem = unused_stem(conversation)
    messages = list(conversation.messages)
    landmarks = [
        Landmark(turn, f"{stem}{turn}A", f"{stem}{turn}R", f"{stem}{turn}C") for turn in turns
    ]
    for landmark in landmarks:
        messages[landmark.turn] = landmark.stand_in_for(messages[landmark.turn])
    return replace(conversation, messages=tuple(messages)), landmarks


def unused_stem(conversation: Conversation) -> str:
    """What all landmarks of a conversation begin with: no text in it contains this."""
    content = [[message.content, message.fields] for message in conversation.messages]
    texts = list(strings([content, conversation.tools]))
    stem = "LANDMARK"
    while any(stem in text for text in texts):
        stem += "X"
    return stem


def split_at_landmarks(
    marked: str, landmarks: Sequence[Landmark], conversation: Conversation
) -> list[str]:
    """The glue: one string before each landmark and one after the last.

    Raises:
        Rejection: "template_not_understood" if a landmark is not printed exactly once, in order.
    """
    glue = []
    rest = marked
    for landmark in landmarks:
        rest = landmark.collapse(rest)
        if rest.count(landmark.answer) != 1:
            raise not_understood(conversation, landmark.turn, "is not printed exactly once")
        before, rest = rest.split(landmark.answer)
        glue.append(before)
    return [*glue, rest]


def locate_answers(
    text: str, glue: Sequence[str], landmarks: Sequence[Landmark], conversation: Conversation
) -> list[tuple[int, int]]:
    """Start and end, in characters of `text`, of what the template made of each answer.

    Raises:
        Rejection: "template_not_understood" if glue and answers do not add up to `text`.
    """
    if not text.startswith(glue[0]):
        raise not_understood(conversation, landmarks[0].turn, "changes the text before it")
    spans = []
    at = len(glue[0])
    for index, landmark in enumerate(landmarks, start=1):
        message = conversation.messages[landmark.turn]
        is_last = index == len(landmarks)
        find = _end_of_compound if landmark.printed else _end_of_answer
        end = find(text, at, message, glue[index], landmark.printed, is_last=is_last)
        if end is None:
            raise not_understood(conversation, landmark.turn, "is rewritten or left out")
        spans.append((at, end))
        at = end + len(glue[index])
    return spans


def _end_of_answer(
    text: str, at: int, message: Message, following: str, _: frozenset[str], *, is_last: bool
) -> int | None:
    """Where the answer that starts at `at` ends, so that `following` comes next."""
    for candidate in (message.content, message.content.strip()):
        end = at + len(candidate)
        complete = not is_last or end + len(following) == len(text)
        if complete and text.startswith(candidate + following, at):
            return end
    end = len(text) - len(following) if is_last else text.find(following, at)
    if end <= at or not text.startswith(following, end):
        return None
    return end if _is_cut_from(_whole_text(message), text[at:end]) else None


def _end_of_compound(
    text: str, at: int, message: Message, following: str, printed: frozenset[str], *, is_last: bool
) -> int | None:
    """The same for a turn with several texts: the first end with all of them before it.

    What is called may hold what looks like the end of a turn.
    """
    texts = [message.content] if "A" in printed else []
    if "R" in printed:
        texts.append(_reasoning(message) or "")
    end = len(text) - len(following) if is_last else text.find(following, at)
    while end > at and text.startswith(following, end):
        found = text[at:end]
        if holds_calls(found, message) and all(_is_in(part, found) for part in texts):
            return end
        end = -1 if is_last else text.find(following, end + 1)
    return None


def holds_calls(found: str, message: Message) -> bool:
    """Whether all that the calls of the turn say is in `found`, as it is or as JSON writes it."""
    functions = [call["function"] for call in message.tool_calls]
    return all(
        any(_is_in(form, found) for form in _written_forms(text))
        for function in functions
        for text in strings([function["name"], function["arguments"]])
    )


def _written_forms(text: str) -> Iterator[str]:
    yield text
    for escapes in (False, True):
        yield json.dumps(text, ensure_ascii=escapes)[1:-1]


def _is_in(piece: str, found: str) -> bool:
    return _without_space(piece) in _without_space(found)


def _reasoning(message: Message) -> str | None:
    return next((message.fields[n] for n in REASONING_FIELDS if n in message.fields), None)


def _whole_text(message: Message) -> str:
    """Reasoning and answer as most templates print them, one after the other."""
    reasoning = _reasoning(message)
    if reasoning is None:
        return message.content
    return f"{_REASONING_START}{reasoning}{_REASONING_END}{message.content}"


def _is_cut_from(content: str, found: str) -> bool:
    """Whether `found` is a piece of `content`, white space aside.

    A template may print the opening tag of reasoning that the content leaves out.
    """
    piece, whole = _without_space(found), _without_space(content)
    return bool(piece) and (piece in whole or piece.removeprefix(_REASONING_START) in whole)


def _without_space(text: str) -> str:
    return "".join(text.split())


def not_understood(conversation: Conversation, turn: int, what: str) -> Rejection:
    """The rejection of a row whose response at `turn` cannot be told from its prompt."""
    calls = conversation.messages[turn].tool_calls
    printed = "tool calls in the turn that makes them" if calls else "answers as they are"
    return Rejection(
        "template_not_understood",
        f"in the chat template's output, {conversation.name_turn(turn)} {what}, so its tokens "
        f"cannot be told from the prompt's; use a template that prints {printed}",
    )
