"""LLaMA-Factory: prompts and answers tokenised in pairs that share the room of a row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from gradshield.data.conversation import Conversation, Message, Rejection
from gradshield.data.errors import DataError
from gradshield.data.profiles.base import (
    LabelledTokens,
    Profile,
    RowEncoder,
    RowReader,
    needs_eos,
)
from gradshield.data.profiles.llamafactory.rows import (
    Columns,
    Tags,
    check_alternating,
    read_alpaca,
    read_turns,
)
from gradshield.data.profiles.llamafactory.templates import (
    LlamaFactoryTemplate,
    template_of,
    templates,
    with_default_system,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Pair = tuple[list[int], list[int]]
"""Token ids of a prompt and of the answer to it."""


class LlamaFactoryProfile(Profile):
    """The settings are those of LLaMA-Factory's training file and of `dataset_info.json`.

    Attributes:
        template: Name of one of its templates; None takes the tokenizer's own apart, as it does.
        formatting: How rows are written; None takes `instruction` rows as alpaca and reads all
            others by the row formats.
        train_on_prompt: Prompts carry loss too.
        mask_history: Only the last answer carries loss, and the last pairs get room first.
    """

    name: Literal["llamafactory"] = "llamafactory"
    template: str | None = None
    formatting: Literal["alpaca", "sharegpt", "openai"] | None = None
    columns: Columns = Field(default_factory=Columns)
    tags: Tags = Field(default_factory=Tags)
    default_system: str | None = None
    train_on_prompt: bool = False
    mask_history: bool = False
    enable_thinking: bool | None = True
    preserve_thinking: bool = False

    cuts: ClassVar[str] = "its prompts and answers lose their ends, sharing the room pair by pair"
    checked_with: ClassVar[str] = "LLaMA-Factory 0.9.5"

    @field_validator("template")
    @classmethod
    def _known_template(cls, value: str | None) -> str | None:
        if value is not None and value not in templates():
            raise ValueError(f"there is no {value!r}; use one of {', '.join(sorted(templates()))}")
        return value

    @model_validator(mode="after")
    def _one_or_the_other(self) -> LlamaFactoryProfile:
        if self.mask_history and self.train_on_prompt:
            raise ValueError("mask_history and train_on_prompt exclude each other")
        return self

    @property
    def carries_loss(self) -> str:
        """See `Profile.carries_loss`."""
        answers = "the last answer" if self.mask_history else "every answer"
        prompts = "prompts and " if self.train_on_prompt else ""
        written = f"LLaMA-Factory's template {self.template}" if self.template else "the template"
        return f"{prompts}{answers} with what {written} prints after it"

    @property
    def reads(self) -> str | None:
        """See `Profile.reads`."""
        if self.formatting is None:
            return None
        columns, tags = self.columns, self.tags
        if self.formatting == "alpaca":
            return f"LLaMA-Factory alpaca ({columns.prompt!r} and {columns.response!r})"
        turns = f"{columns.messages!r}, turns with {tags.role_tag!r} and {tags.content_tag!r}"
        return f"LLaMA-Factory {self.formatting} ({turns})"

    def exchange(self, question: str, answer: str, like: Mapping[str, Any]) -> dict[str, Any]:
        """See `Profile.exchange`."""
        if self.formatting is None:
            return super().exchange(question, answer, like)
        columns, tags = self.columns, self.tags
        if self.formatting == "alpaca":
            asked = str(columns.prompt or columns.query)
            return {asked: question, str(columns.response): answer}
        turns = [(tags.user_tag, question), (tags.assistant_tag, answer)]
        written = [{str(tags.role_tag): r, str(tags.content_tag): text} for r, text in turns]
        return {str(columns.messages): written}

    def encoder(
        self, tokenizer: PreTrainedTokenizerBase, read: RowReader, max_length: int | None
    ) -> RowEncoder:
        """See `Profile.encoder`."""
        template = template_of(tokenizer) if self.template is None else templates()[self.template]
        template = with_default_system(template, self.default_system)
        fitted = template.fitted(tokenizer)
        if self.train_on_prompt and template.efficient_eos:
            raise DataError(f"the template {self.template} excludes train_on_prompt")

        def encode(row: dict[str, Any]) -> LabelledTokens:
            system, turns = check_alternating(self._conversation(row, read))
            pairs = self._pairs(template, fitted, system, turns)
            return self._joined(template, fitted, pairs, max_length)

        return encode

    def _conversation(self, row: dict[str, Any], read: RowReader) -> Conversation:
        if self.formatting == "alpaca" or (self.formatting is None and "instruction" in row):
            return read_alpaca(row, self.columns)
        if self.formatting is None:
            return read(row)
        return read_turns(row, self.columns, self.tags, openai=self.formatting == "openai")

    def _pairs(
        self,
        template: LlamaFactoryTemplate,
        tokenizer: PreTrainedTokenizerBase,
        system: str,
        turns: Sequence[Message],
    ) -> list[Pair]:
        system = system or template.default_system
        turns = self._without_thoughts(template, turns)
        pairs = []
        for index in range(0, len(turns), 2):
            question, answer = turns[index].content, turns[index + 1].content
            head: list[int] = []
            if index == 0:
                head = template.encode(template.prefix, "", tokenizer)
                if system and template.system_in_user:
                    # Only the first piece of it is put there.
                    question = str(template.system[0]).replace("{{content}}", system, 1) + question
                elif system:
                    head += template.encode(template.system, system, tokenizer)
            asked = head + template.encode(template.user, question, tokenizer)
            answered = template.encode(template.assistant, answer, tokenizer)
            pairs.append((asked, answered))
        return self._with_empty_thoughts(template, tokenizer, turns, pairs)

    @property
    def _drops_earlier_thoughts(self) -> bool:
        return self.mask_history and not self.preserve_thinking

    def _without_thoughts(
        self, template: LlamaFactoryTemplate, turns: Sequence[Message]
    ) -> Sequence[Message]:
        """Without the reasoning that a reasoning template does not print."""
        if not template.reasoning:
            return turns
        opened, closed = (re.escape(word) for word in template.thought_words)
        block = re.compile(f"{opened}(.*?){closed}", re.DOTALL)
        last = len(turns) - 1
        shown = []
        for index, turn in enumerate(turns):
            drops = self.enable_thinking is False or (self._drops_earlier_thoughts and index < last)
            if turn.role == "assistant" and drops:
                turn = replace(turn, content=block.sub("", turn.content).lstrip("\n"))
            shown.append(turn)
        return shown

    def _with_empty_thoughts(
        self,
        template: LlamaFactoryTemplate,
        tokenizer: PreTrainedTokenizerBase,
        turns: Sequence[Message],
        pairs: list[Pair],
    ) -> list[Pair]:
        """With an empty block before answers without reasoning, for a reasoning template.

        It carries loss if thinking is enabled, and belongs to the prompt if not.
        """
        if not template.reasoning:
            return pairs
        empty = template.encode(["".join(template.thought_words)], "", tokenizer)
        words = [word.strip() for word in template.thought_words]
        completed = []
        for index, (asked, answered) in enumerate(pairs):
            is_left = self._drops_earlier_thoughts and index < len(pairs) - 1
            if not is_left and not any(word in turns[2 * index + 1].content for word in words):
                if self.enable_thinking:
                    answered = empty + answered
                else:
                    asked = asked + empty
            completed.append((asked, answered))
        return completed

    def _joined(
        self,
        template: LlamaFactoryTemplate,
        tokenizer: PreTrainedTokenizerBase,
        pairs: list[Pair],
        max_length: int | None,
    ) -> LabelledTokens:
        """The pairs one after the other, as far as there is room.

        Under `mask_history` the last pairs get room first; the order of the text stays.
        """
        if template.efficient_eos and len(pairs) > 1:
            # There the end of an answer is a target in place of the next prompt's first token,
            # and no token of the row.
            raise Rejection(
                "unsupported_content",
                f"the template {self.template} has end tokens between turns that are no tokens of "
                "the row: only rows of one question and one answer can be scored under it",
            )
        room = None if max_length is None else max_length - template.efficient_eos
        parts: list[LabelledTokens] = []
        for place, pair in enumerate(pairs[::-1] if self.mask_history else pairs):
            if room is not None and room <= 0:
                break
            part = self._labelled(pair, room, is_history=self.mask_history and place > 0)
            room = None if room is None else room - len(part.ids)
            parts.append(part)
        in_order = parts[::-1] if self.mask_history else parts
        if template.efficient_eos:
            in_order.append(LabelledTokens([needs_eos(tokenizer, "the template")], [True]))
        return LabelledTokens(
            [token for part in in_order for token in part.ids],
            [carries for part in in_order for carries in part.loss],
            truncated=len(parts) < len(pairs) or any(part.truncated for part in parts),
        )

    def _labelled(self, pair: Pair, room: int | None, *, is_history: bool) -> LabelledTokens:
        asked, answered = pair
        whole = len(asked) + len(answered)
        if room is not None:
            lengths = share_room(len(asked), len(answered), room)
            asked, answered = asked[: lengths[0]], answered[: lengths[1]]
        loss = [self.train_on_prompt] * len(asked) + [not is_history] * len(answered)
        return LabelledTokens(asked + answered, loss, truncated=len(loss) < whole)


def share_room(prompt: int, answer: int, room: int) -> tuple[int, int]:
    """How many tokens of a prompt and of its answer are kept.

    A short answer stays whole and the prompt is cut; a short prompt stays whole and the answer is
    cut; else both are cut in proportion.
    """
    if answer * 2 < room:
        most = room
    elif prompt * 2 < room:
        most = room - prompt
    else:
        most = int(room * (answer / (prompt + answer)))
    kept = min(most, answer)
    return min(max(room - kept, 0), prompt), kept
