"""Rendering conversations by a tokenizer's own chat template, and where the responses are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from gradshield.data.conversation import REASONING_FIELDS, Conversation, Message, Rejection
from gradshield.data.errors import TemplateError
from gradshield.data.generation_marks import choose_marked, generation_spans, has_generation_marks
from gradshield.data.landmarks import (
    Landmark,
    locate_answers,
    place_landmarks,
    split_at_landmarks,
)
from gradshield.data.rendering import apply_template
from gradshield.data.turn_edges import Edges, find_edges, is_compound
from gradshield.data.turn_ends import TurnEnds, find_ends

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class RenderedConversation:
    """A conversation as the text that the model reads.

    Attributes:
        text: The whole text, with every token that the template prints, a BOS included.
        responses: Start and end, in characters, of each response: of an answer, tool calls
            included, and the end-of-turn text right after it, if the template prints one; or of
            what the template itself marks as generated.
        left_out: What the row has that the template does not print, one entry a case.
    """

    text: str
    responses: tuple[tuple[int, int], ...]
    left_out: tuple[str, ...] = ()


_MISSED = (
    "answers that the template's own generation marks miss: the answers are taken, but a trainer "
    "that goes by the marks would not train on them"
)

_known_ends: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[tuple[str, str], TurnEnds]]
_known_ends = WeakKeyDictionary()


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
        known = _known_ends.get(tokenizer)
        if known is None or known[0] != state:
            known = _known_ends[tokenizer] = (state, find_ends(self.print, tokenizer))
        self._ends = known[1]
        self.end_of_turn = self._ends.end_of_turn

    def render(self, conversation: Conversation, turns: Sequence[int]) -> RenderedConversation:
        """Render the conversation and find the responses at `turns`, which must not be empty.

        A template that marks what is generated is believed, unless its marks miss an answer that
        the landmarks find.

        Raises:
            Rejection: "template_error" if the template refuses the conversation,
                "template_not_understood" if the responses cannot be found with certainty.
        """
        text = self.print(conversation)
        refusal: Rejection | None = None
        spans: list[tuple[int, int]] = []
        left_out = self._unprinted_tools(conversation, text)
        # With tools, a tokenizer may have a template of its own for them.
        source = self._tokenizer.get_chat_template(tools=_tools(conversation))
        is_marked = has_generation_marks(source)
        try:
            spans, unprinted = self._locate(conversation, turns, text)
            left_out += unprinted
        except Rejection as rejection:
            if rejection.reason != "template_not_understood" or not is_marked:
                raise
            refusal = rejection
        if is_marked:
            marked = self._generation_spans(conversation, text)
            chosen = choose_marked(marked, spans, turns, conversation, text)
            if chosen is None and refusal is not None:
                raise refusal
            left_out += [_MISSED] if chosen is None else []
            spans = spans if chosen is None else chosen
        return RenderedConversation(text, tuple(spans), tuple(left_out))

    def _locate(
        self, conversation: Conversation, turns: Sequence[int], text: str
    ) -> tuple[list[tuple[int, int]], list[str]]:
        """The responses in `text` by landmarks, and what of these turns is not printed."""
        marked_conversation, landmarks = place_landmarks(conversation, turns)
        marked, left_out = self.print(marked_conversation), []
        for index, landmark in enumerate(landmarks):
            message = conversation.messages[landmark.turn]
            left_out += _unprinted(message, landmark, marked)
            edges = self._edges(conversation, landmark)
            collapsed = None if edges is None else edges.collapse(marked, landmark, message)
            if edges is not None and collapsed is not None:
                marked, landmarks[index] = collapsed, replace(landmark, printed=edges.printed)
        glue = split_at_landmarks(marked, landmarks, conversation)
        spans = []
        for start, end in locate_answers(text, glue, landmarks, conversation):
            ends_turn = text.startswith(self.end_of_turn, end)
            spans.append((start, end + len(self.end_of_turn) if ends_turn else end))
        return spans, left_out

    def _edges(self, conversation: Conversation, landmark: Landmark) -> Edges | None:
        if not is_compound(conversation, landmark.turn):
            return None
        try:
            return find_edges(conversation, landmark.turn, self.print, self._ends)
        except Rejection:
            # Reasoning between its usual tags is told without edges.
            if conversation.messages[landmark.turn].tool_calls:
                raise
            return None

    def _unprinted_tools(self, conversation: Conversation, text: str) -> list[str]:
        if not conversation.tools:
            return []
        try:
            printed = text != self.print(replace(conversation, tools=()))
        except Rejection:  # with calls, a template may insist on them
            printed = True
        return [] if printed else ["tools declared that the chat template does not print"]

    def _generation_spans(self, conversation: Conversation, text: str) -> list[tuple[int, int]]:
        return generation_spans(self._tokenizer, _turns(conversation), _tools(conversation), text)

    def render_contents(
        self, conversation: Conversation, turns: Sequence[int]
    ) -> RenderedConversation:
        """As `render`, for the text of turns of any role, without their ends of turn."""
        text = self.print(conversation)
        marked, landmarks = place_landmarks(conversation, turns)
        glue = split_at_landmarks(self.print(marked), landmarks, conversation)
        spans = locate_answers(text, glue, landmarks, conversation)
        return RenderedConversation(text, tuple(spans))

    def generated_tokens(self, conversation: Conversation) -> tuple[list[int], list[bool]]:
        """Token ids, and for each whether transformers counts it as marked as generated.

        Raises:
            Rejection: "template_error" if the template refuses the conversation.
        """
        encoded: Any = self._apply(
            conversation, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        return list(encoded["input_ids"]), [bool(mark) for mark in encoded["assistant_masks"]]

    def print(self, conversation: Conversation, *, add_generation_prompt: bool = False) -> str:
        """The text of the conversation, and of the header of an answer to come if asked for.

        Raises:
            Rejection: "template_error" if the template refuses the conversation.
        """
        text = self._apply(
            conversation, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        if not isinstance(text, str):
            raise TemplateError(
                f"apply_chat_template returned {type(text).__name__} where text was asked for; "
                "this version of transformers is not supported"
            )
        return text

    def _apply(self, conversation: Conversation, **options: Any) -> object:
        try:
            return apply_template(
                self._tokenizer,
                _turns(conversation),
                tools=_tools(conversation),
                **options,
            )
        # A template is a program: it may raise its own exception or fail in any other way.
        except Exception as error:
            raise Rejection("template_error", _explain(error, conversation)) from error


def _turns(conversation: Conversation) -> list[dict[str, Any]]:
    return [{"role": m.role, "content": m.content, **m.fields} for m in conversation.messages]


def _tools(conversation: Conversation) -> list[dict[str, Any]] | None:
    return [dict(tool) for tool in conversation.tools] or None


def _unprinted(message: Message, landmark: Landmark, marked: str) -> list[str]:
    """What a turn has of which the rendering with landmarks shows nothing."""
    reasons = any(name in message.fields for name in REASONING_FIELDS)
    speaks = message.tool_calls and message.content.strip()
    missing = {
        "text beside a tool call": speaks and landmark.answer not in marked,
        "reasoning": reasons and landmark.reasoning not in marked,
    }
    return [f"{name} that the chat template does not print" for name in missing if missing[name]]


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
