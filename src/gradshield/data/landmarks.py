"""Finding answers in a rendered conversation by rendering it a second time with landmarks.

A chat template decides what becomes of an answer: it may trim it, cut its reasoning, or print a
prefix of the turns otherwise than the same turns within a longer conversation. So nothing is
assumed about prefixes. Every answer is replaced by a unique word, the landmark; the text around
the landmarks is the *glue*, g_0 ... g_n, which the template prints whatever the answers are. In
the rendering with the real answers, what stands between two pieces of glue is an answer x_i, and
the parts must add up: g_0 x_1 g_1 ... x_n g_n is the whole text, or the template is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gradshield.data.conversation import Conversation, Message, Rejection

_REASONING_START, _REASONING_END = "<think>", "</think>"


@dataclass(frozen=True)
class Landmark:
    """What stands for one answer in the second rendering.

    Attributes:
        turn: 0-based index of the turn.
        answer: The landmark of the answer.
        reasoning: The landmark of its reasoning, if the answer has any.
    """

    turn: int
    answer: str
    reasoning: str

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
    stem = "LANDMARK"
    while any(stem in message.content for message in conversation.messages):
        stem += "X"
    messages = list(conversation.messages)
    landmarks = [Landmark(turn, f"{stem}{turn}A", f"{stem}{turn}R") for turn in turns]
    for landmark in landmarks:
        message = messages[landmark.turn]
        messages[landmark.turn] = Message(message.role, landmark.stand_in(message.content))
    return Conversation(tuple(messages)), landmarks


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
            raise _not_understood(conversation, landmark.turn, "is not printed exactly once")
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
        raise _not_understood(conversation, landmarks[0].turn, "changes the text before it")
    spans = []
    at = len(glue[0])
    for index, landmark in enumerate(landmarks, start=1):
        content = conversation.messages[landmark.turn].content
        end = _end_of_answer(text, at, content, glue[index], is_last=index == len(landmarks))
        if end is None:
            raise _not_understood(conversation, landmark.turn, "is rewritten or left out")
        spans.append((at, end))
        at = end + len(glue[index])
    return spans


def _end_of_answer(
    text: str, at: int, content: str, following: str, *, is_last: bool
) -> int | None:
    """Where the answer that starts at `at` ends, so that `following` comes next."""
    for candidate in (content, content.strip()):
        end = at + len(candidate)
        complete = not is_last or end + len(following) == len(text)
        if complete and text.startswith(candidate + following, at):
            return end
    end = len(text) - len(following) if is_last else text.find(following, at)
    if end <= at or not text.startswith(following, end):
        return None
    return end if _is_cut_from(content, text[at:end]) else None


def _is_cut_from(content: str, found: str) -> bool:
    """Whether `found` is a piece of `content`, white space aside.

    A template may print the opening tag of reasoning that the content leaves out.
    """
    piece = "".join(found.split())
    whole = "".join(content.split())
    return bool(piece) and (piece in whole or piece.removeprefix(_REASONING_START) in whole)


def _not_understood(conversation: Conversation, turn: int, what: str) -> Rejection:
    return Rejection(
        "template_not_understood",
        f"in the chat template's output, {conversation.name_turn(turn)} {what}, so its tokens "
        "cannot be told from the prompt's; use a template that prints answers as they are",
    )
