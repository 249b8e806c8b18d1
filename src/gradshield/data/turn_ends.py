"""How a chat template begins and ends turns, found out on a question and its answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradshield.data.conversation import Conversation, Message, Rejection
from gradshield.data.errors import TemplateError
from gradshield.data.landmarks import place_landmarks, split_at_landmarks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Render = Callable[..., str]
"""Renders a conversation; `add_generation_prompt` lets the next turn begin."""

_EXCHANGE = (Message("user", "Hello"), Message("assistant", "Hi"))

# What a call is ended by in families that end answers by something else: gpt-oss, Llama 3 with its
# built-in tools, GLM, Gemma 4. The model writes it too.
_ENDS_OF_CALL = ("<|call|>", "<|eom_id|>", "<|observation|>", "<tool_call|>")

# Empty or opened reasoning at the end of a generation prompt.
_OPENED_REASONING = re.compile(r"<think>\s*(</think>\s*)?$")

# What may stand between a generation prompt and an answer: the model writes it too.
_EMPTY_REASONING = re.compile(r"\s*(<think>\s*</think>\s*)?")


@dataclass(frozen=True)
class TurnEnds:
    """How turns of the template begin and end.

    Attributes:
        end_of_turn: What it prints after a final answer; may be empty.
        is_prompted: Whether its generation prompt is the header of an assistant turn.
    """

    end_of_turn: str
    is_prompted: bool

    def find(self, tail: str) -> int | None:
        """Where in `tail`, which begins in a turn, that turn ends; None if nowhere.

        That is before the end of turn, or after what ends a call.
        """
        if self.end_of_turn and self.end_of_turn in tail:
            return tail.index(self.end_of_turn)
        ends = [tail.index(token) + len(token) for token in _ENDS_OF_CALL if token in tail]
        return min(ends, default=None)


def possible_headers(prompt: str) -> tuple[str, str]:
    """A generation prompt, and what it is without reasoning that it opens."""
    return prompt, _OPENED_REASONING.sub("", prompt)


def find_ends(render: Render, tokenizer: PreTrainedTokenizerBase) -> TurnEnds:
    """Try the template.

    Args:
        render: Renders by it.
        tokenizer: Whose added tokens may be what ends a turn.

    Raises:
        TemplateError: It cannot print one question and its answer.
    """
    before, after = _around_an_answer(render)
    end_of_turn = _first_added_token(after, tokenizer) or _without_header(before, after, render)
    return TurnEnds(end_of_turn, _is_prompted(before, render))


def _is_prompted(before: str, render: Render) -> bool:
    """Whether the generation prompt is all that the template prints before an answer.

    Reasoning left empty aside; a template that prints more may have a prompt that leaves the
    beginning to the model, but one that ignores the wish for a prompt has none.
    """
    system = (Message("system", "Be brief."),) if "Be brief." in before else ()
    question = Conversation((*system, _EXCHANGE[0]))
    try:
        prompt = render(question, add_generation_prompt=True)
        same = prompt == render(question)
    except Rejection:
        return False
    rest = [before[len(h) :] for h in possible_headers(prompt) if before.startswith(h)]
    return bool(rest) and (not same or _EMPTY_REASONING.fullmatch(rest[0]) is not None)


def _around_an_answer(render: Render) -> tuple[str, str]:
    """What the template prints before and after the answer to one question."""
    system = Message("system", "Be brief.")
    refusals = []
    # Some templates insist on a system turn.
    for turns in (_EXCHANGE, (system, *_EXCHANGE)):
        try:
            before, after = _print_around(turns, len(turns) - 1, render)
        except Rejection as rejection:
            refusals.append(rejection)
        else:
            return before, after.rstrip()
    raise TemplateError(
        "the tokenizer's chat template cannot print one question and its answer; set "
        f"tokenizer.chat_template to one that can: {refusals[0].detail}"
    ) from refusals[0]


def _print_around(turns: tuple[Message, ...], answer: int, render: Render) -> tuple[str, str]:
    conversation = Conversation(turns)
    marked, landmarks = place_landmarks(conversation, [answer])
    before, after = split_at_landmarks(render(marked), landmarks, conversation)
    return before, after


def _without_header(before: str, after: str, render: Render) -> str:
    """`after` without the line that opens the next answer, which some templates always print.

    That line stands before the first answer too, and not between an answer and a question.
    """
    header = before.rpartition(_EXCHANGE[0].content)[2].rstrip().rpartition("\n")[2]
    if not header.strip() or not after.endswith(header):
        return after
    try:
        _, between = _print_around((*_EXCHANGE, _EXCHANGE[0]), 1, render)
    except Rejection:
        return after
    return after if between.startswith(after) else after.removesuffix(header).rstrip()


def _first_added_token(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The added token that `text` begins with, white space before it included."""
    start = len(text) - len(text.lstrip())
    tokens = (token.content for token in tokenizer.added_tokens_decoder.values())
    longest = max((t for t in tokens if t and text.startswith(t, start)), key=len, default="")
    return text[: start + len(longest)] if longest else ""
