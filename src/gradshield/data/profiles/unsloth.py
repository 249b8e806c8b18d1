"""Unsloth's `train_on_responses_only`: what stands between two marker texts carries loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from gradshield.data.conversation import Conversation, Message, Rejection
from gradshield.data.errors import DataError
from gradshield.data.profiles.base import (
    LabelledTokens,
    Profile,
    RowEncoder,
    RowReader,
    keep_start,
    plain_ids,
)
from gradshield.data.template import ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class UnslothProfile(Profile):
    """The settings are arguments of `train_on_responses_only`.

    Attributes:
        instruction_part: Text that opens a user's turn; found from the chat template if neither
            part is given.
        response_part: Text that opens an answer.
        last_response_only: Only what follows the last `response_part` carries loss.
    """

    name: Literal["unsloth"] = "unsloth"
    instruction_part: str | None = None
    response_part: str | None = None
    last_response_only: bool = False

    cuts: ClassVar[str] = "its first tokens are kept"
    checked_with: ClassVar[str] = "unsloth_zoo 2026.10.9"

    @model_validator(mode="after")
    def _both_or_neither(self) -> UnslothProfile:
        if (self.instruction_part is None) != (self.response_part is None):
            raise ValueError("give both instruction_part and response_part, or neither")
        return self

    @property
    def carries_loss(self) -> str:
        """See `Profile.carries_loss`."""
        opened = "the text that opens an answer" if self.response_part is None else "response_part"
        which = "the last " if self.last_response_only else ""
        return f"what follows {which}{opened}, up to the next turn"

    def encoder(
        self, tokenizer: PreTrainedTokenizerBase, read: RowReader, max_length: int | None
    ) -> RowEncoder:
        """See `Profile.encoder`."""
        template = ChatTemplate(tokenizer)
        marks = self._marks(template, tokenizer)

        def encode(row: dict[str, Any]) -> LabelledTokens:
            conversation = read(row)
            # A text is taken to be printed by the template already, as Unsloth's notebooks do it.
            is_text = conversation.plain
            text = conversation.messages[0].content if is_text else template.print(conversation)
            ids = plain_ids(text, tokenizer, special=_adds_bos(text, tokenizer))
            unlabelled = LabelledTokens(
                ids, [False] * len(ids), left_out=conversation.parts_left_out
            )
            cut = keep_start(unlabelled, max_length)
            spans = marks.answers(cut.ids)
            if not spans and not cut.truncated:
                raise Rejection(
                    "marker_not_found",
                    f"the response_part {marks.response_text!r} does not stand in the row as "
                    "tokens of its own, so Unsloth trains on nothing of it",
                )
            for start, end in spans[-1:] if self.last_response_only else spans:
                cut.loss[start:end] = [True] * (end - start)
            return cut

        return encode

    def _marks(self, template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> _Marks:
        instruction, response = _parts_of(template)
        if self.instruction_part is not None and self.response_part is not None:
            text = template.print(_TWO_EXCHANGES)
            for name, part in (
                ("instruction_part", self.instruction_part),
                ("response_part", self.response_part),
            ):
                if part not in text:
                    raise DataError(
                        f"the {name} {part!r} does not occur in what the model's chat template "
                        f"prints, so Unsloth would train on nothing; the template opens a user's "
                        f"turn by {instruction!r} and an answer by {response!r}"
                    )
            instruction, response = self.instruction_part, self.response_part
        if not instruction.strip() or not response.strip():
            raise DataError(
                "the model's chat template has no texts that open turns; give instruction_part "
                "and response_part"
            )
        return _Marks(
            response,
            tuple(plain_ids(instruction, tokenizer)),
            tuple(plain_ids(response, tokenizer)),
            _opener(instruction, response, tokenizer),
            tokenizer.bos_token_id,
            tokenizer.eos_token_id,
        )


@dataclass(frozen=True)
class _Marks:
    """Token ids by which answers are found.

    Attributes:
        response_text: The text of `response`, for messages.
        instruction: What opens a user's turn.
        response: What opens an answer.
        opener: What both begin with, if special tokens; it opens turns of every role.
        bos: The BOS token.
        eos: The EOS token, which ends an answer and belongs to it.
    """

    response_text: str
    instruction: tuple[int, ...]
    response: tuple[int, ...]
    opener: tuple[int, ...]
    bos: int | None
    eos: int | None

    def answers(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Start and end of each answer in the tokens of a row."""
        spans, at = [], 0
        while at < len(ids):
            if _stands(self.response, ids, at):
                start = at + len(self.response)
                at = self._end(ids, start)
                if start < len(ids):
                    spans.append((start, at))
            else:
                at += 1
        return spans

    def _end(self, ids: Sequence[int], start: int) -> int:
        for at in range(start, len(ids)):
            if ids[at] == self.eos:
                return at + 1
            if ids[at] == self.bos or any(
                _stands(mark, ids, at) for mark in (self.opener, self.response, self.instruction)
            ):
                return at
        return len(ids)


def _stands(mark: Sequence[int], ids: Sequence[int], at: int) -> bool:
    return bool(mark) and tuple(ids[at : at + len(mark)]) == tuple(mark)


_QUESTION, _ANSWER = "QUESTION0X", "ANSWER0X"
_TWO_EXCHANGES = Conversation(
    (Message("user", _QUESTION), Message("assistant", _ANSWER)) * 2
    + (Message("user", _QUESTION), Message("assistant", _ANSWER))
)


def _parts_of(template: ChatTemplate) -> tuple[str, str]:
    """What opens a user's turn and an answer, without what ends the turn before.

    The end of a turn is taken to be what the template prints after an answer, or after a question
    without the header of an answer.
    """
    try:
        text = template.print(_TWO_EXCHANGES)
        question = Conversation(_TWO_EXCHANGES.messages[:1])
        bare = template.print(question)
        headed = template.print(question, add_generation_prompt=True)
    except Rejection as rejection:
        raise DataError(
            "the model's chat template cannot print three questions and answers: "
            f"{rejection.detail}"
        ) from rejection
    between = text.split(_ANSWER)[1].partition(_QUESTION)[0]
    before_answer = text.split(_QUESTION)[2].partition(_ANSWER)[0]
    header = headed.removeprefix(bare) if headed.startswith(bare) else ""
    if header and before_answer.endswith(header) and header != before_answer:
        return between.removeprefix(before_answer.removesuffix(header)), header
    return between.strip(), before_answer.strip()


def _opener(instruction: str, response: str, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    pairs = zip(plain_ids(instruction, tokenizer), plain_ids(response, tokenizer), strict=False)
    common = tuple(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    added = tokenizer.added_tokens_decoder
    special = all(token in added and added[token].special for token in common)
    named = any(token in added and str(added[token]).strip() for token in common)
    return common if special and named else ()


def _adds_bos(text: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether special tokens are put around the text: not where a BOS is printed already."""
    bos = tokenizer.bos_token
    printed = str(tokenizer.chat_template or "")
    return bos is None or not (text.startswith(str(bos)) or str(bos) in printed)
