"""Rendering conversations by a tokenizer's own chat template, and where the responses are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from gradshield.data.conversation import Conversation, Message, Rejection
from gradshield.data.errors import DataError
from gradshield.data.landmarks import locate_answers, place_landmarks, split_at_landmarks
from gradshield.data.rendering import apply_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TemplateError(DataError):
    """The tokenizer's chat template is missing, or unusable whatever the rows are."""


@dataclass(frozen=True)
class RenderedConversation:
    """A conversation as the text that the model reads.

    Attributes:
        text: The whole text, with every token that the template prints, a BOS included.
        responses: Start and end, in characters, of each response. A response is an answer and
            the end-of-turn text right after it, if the template prints one.
    """

    text: str
    responses: tuple[tuple[int, int], ...]


_EXCHANGE = (Message("user", "Hello"), Message("assistant", "Hi"))

_ends_of_turn: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[tuple[str, str], str]]
_ends_of_turn = WeakKeyDictionary()


class ChatTemplate:
    """The chat template of one tokenizer.

    Attributes:
        end_of_turn: What the template prints after a final answer, by which the model learns to
            stop: white space before it included, after it not. Where that text begins with a
            token of its own, it is that token only: a template may end the whole text by a
            further token, which does not stand after the other answers. May be empty.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Try the template on a question and an answer, once for a tokenizer.

        Raises:
            TemplateError: There is no template, or it cannot print that.
        """
        self._tokenizer = tokenizer
        # Whatever the template prints depends on these, and a user may change them.
        state = (_source(tokenizer), str(tokenizer.special_tokens_map))
        known = _ends_of_turn.get(tokenizer)
        if known is None or known[0] != state:
            known = _ends_of_turn[tokenizer] = (state, self._find_end_of_turn())
        self.end_of_turn = known[1]

    def render(self, conversation: Conversation, turns: Sequence[int]) -> RenderedConversation:
        """Render the conversation and find the responses at `turns`, which must not be empty.

        Raises:
            Rejection: "template_error" if the template refuses the conversation,
                "template_not_understood" if the responses cannot be found with certainty.
        """
        text = self._render(conversation)
        marked, landmarks = place_landmarks(conversation, turns)
        glue = split_at_landmarks(self._render(marked), landmarks, conversation)
        spans = []
        for start, end in locate_answers(text, glue, landmarks, conversation):
            ends_turn = text.startswith(self.end_of_turn, end)
            spans.append((start, end + len(self.end_of_turn) if ends_turn else end))
        return RenderedConversation(text, tuple(spans))

    def _render(self, conversation: Conversation) -> str:
        turns = [{"role": m.role, "content": m.content} for m in conversation.messages]
        try:
            text = apply_template(self._tokenizer, turns, tokenize=False)
        # A template is a program: it may raise its own exception or fail in any other way.
        except Exception as error:
            raise Rejection("template_error", _explain(error, conversation)) from error
        if not isinstance(text, str):
            raise TemplateError(
                f"apply_chat_template returned {type(text).__name__} where text was asked for; "
                "this version of transformers is not supported"
            )
        return text

    def _find_end_of_turn(self) -> str:
        before, after = self._around_an_answer()
        return self._first_added_token(after) or self._without_header(before, after)

    def _around_an_answer(self) -> tuple[str, str]:
        """What the template prints before and after the answer to one question."""
        system = Message("system", "Be brief.")
        refusals = []
        # Some templates insist on a system turn.
        for turns in (_EXCHANGE, (system, *_EXCHANGE)):
            try:
                before, after = self._print_around(turns, len(turns) - 1)
            except Rejection as rejection:
                refusals.append(rejection)
            else:
                return before, after.rstrip()
        raise TemplateError(
            "the tokenizer's chat template cannot print one question and its answer; set "
            f"tokenizer.chat_template to one that can: {refusals[0].detail}"
        ) from refusals[0]

    def _print_around(self, turns: tuple[Message, ...], answer: int) -> tuple[str, str]:
        conversation = Conversation(turns)
        marked, landmarks = place_landmarks(conversation, [answer])
        before, after = split_at_landmarks(self._render(marked), landmarks, conversation)
        return before, after

    def _without_header(self, before: str, after: str) -> str:
        """`after` without the line that opens the next answer, which some templates always print.

        That line stands before the first answer too, and not between an answer and a question.
        """
        header = before.rpartition(_EXCHANGE[0].content)[2].rstrip().rpartition("\n")[2]
        if not header.strip() or not after.endswith(header):
            return after
        try:
            _, between = self._print_around((*_EXCHANGE, _EXCHANGE[0]), 1)
        except Rejection:
            return after
        return after if between.startswith(after) else after.removesuffix(header).rstrip()

    def _first_added_token(self, text: str) -> str:
        """The added token that `text` begins with, white space before it included."""
        start = len(text) - len(text.lstrip())
        tokens = (token.content for token in self._tokenizer.added_tokens_decoder.values())
        longest = max((t for t in tokens if t and text.startswith(t, start)), key=len, default="")
        return text[: start + len(longest)] if longest else ""


def _source(tokenizer: PreTrainedTokenizerBase) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        templates = tokenizer.chat_template
        if isinstance(templates, dict) and templates:
            raise TemplateError(
                f"the tokenizer has several chat templates ({', '.join(sorted(templates))}) and "
                "none is called 'default'; set tokenizer.chat_template to the one to train with"
            ) from error
        raise TemplateError(
            "the tokenizer has no chat template, so it cannot be known which tokens are the "
            "response; use the chat version of the model, or set tokenizer.chat_template"
        ) from error


def _explain(error: Exception, conversation: Conversation) -> str:
    roles = [message.role for message in conversation.messages]
    repeats = (i for i, (role, following) in enumerate(pairwise(roles)) if role == following)
    repeat = next(repeats, None)
    hint, mend = "", "change the turns, or set tokenizer.chat_template to one that takes them"
    if repeat is not None:
        hint = f"; turns {repeat + 1} and {repeat + 2} are both {roles[repeat]}"
        mend = "if turns must alternate, join them"
    elif "system" in roles:
        mend = "if it takes no system turn, put that text into the first user turn"
    return f"the chat template refuses the turns {', '.join(roles)}{hint}: {error}; {mend}"
