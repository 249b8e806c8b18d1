"""LLaMA-Factory's own chat templates: pieces of text, each of which is tokenised by itself.

`templates.json` beside this file holds those of its registry that text rows can use, written by
`tests/data/profiles/make_golden.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from gradshield.data.errors import DataError
from gradshield.data.profiles.base import plain_ids, with_changes
from gradshield.data.rendering import apply_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BOS, EOS = {"special": "bos"}, {"special": "eos"}
"""Pieces that are no text but a special token of the tokenizer, as `templates.json` has them."""

_CONTENT = "{{content}}"

Piece = str | dict[str, str]
"""Text, in which `{{content}}` stands for the turn's, or `BOS`, `EOS` or a named token."""


@dataclass(frozen=True)
class LlamaFactoryTemplate:
    """How turns are written.

    Attributes:
        prefix: What stands before everything.
        system: A system text.
        user: A user's turn, with the header of the answer.
        assistant: An answer, with its end.
        default_system: The system text of rows without one.
        stop_words: Tokens that the tokenizer must have; the first becomes its EOS token if
            `replace_eos`.
        efficient_eos: Whether the EOS token stands once, at the very end, and not after each
            answer.
        replace_eos: See `stop_words`.
        system_in_user: Whether the system text is put into the first user turn.
        reasoning: Whether an answer without reasoning gets an empty block of it.
        thought_words: What opens and closes reasoning.
    """

    user: Sequence[Piece]
    assistant: Sequence[Piece]
    system: Sequence[Piece] = (_CONTENT,)
    prefix: Sequence[Piece] = ()
    default_system: str = ""
    stop_words: Sequence[str] = ()
    efficient_eos: bool = False
    replace_eos: bool = False
    system_in_user: bool = False
    reasoning: bool = False
    thought_words: Sequence[str] = ("<think>\n", "\n</think>\n\n")

    def fitted(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """The tokenizer with the EOS token that the template asks for.

        Raises:
            DataError: It lacks a token that the template prints, which LLaMA-Factory would add,
                and which the scoring model then does not know.
        """
        known = {str(token) for token in tokenizer.added_tokens_decoder.values()}
        printed = "".join(
            piece
            for pieces in (self.prefix, self.system, self.user, self.assistant)
            for piece in pieces
            if isinstance(piece, str)
        )
        uses_eos = self.efficient_eos or EOS in [*self.system, *self.user, *self.assistant]
        for place, word in enumerate(self.stop_words):
            is_needed = word in printed or (self.replace_eos and place == 0 and uses_eos)
            if is_needed and word not in known:
                raise DataError(
                    f"this LLaMA-Factory template needs the token {word!r}, which the model's "
                    "tokenizer does not have: choose the template that belongs to the model"
                )
        if self.replace_eos and self.stop_words[0] in known:
            return with_changes(tokenizer, eos_token=self.stop_words[0])
        if uses_eos and tokenizer.eos_token_id is None:
            raise DataError(
                "this LLaMA-Factory template needs an EOS token; the tokenizer has none"
            )
        return tokenizer

    def encode(
        self, pieces: Sequence[Piece], content: str, tokenizer: PreTrainedTokenizerBase
    ) -> list[int]:
        """Token ids of a turn."""
        ids: list[int] = []
        for piece in pieces:
            if isinstance(piece, str):
                text = piece.replace(_CONTENT, content, 1)
                ids += plain_ids(text, tokenizer) if text else []
            elif "token" in piece:
                token: Any = tokenizer.convert_tokens_to_ids(piece["token"])
                ids.append(int(token))
            else:
                special = tokenizer.bos_token_id if piece == BOS else tokenizer.eos_token_id
                ids += [] if special is None else [int(special)]
        return ids


@cache
def templates() -> dict[str, LlamaFactoryTemplate]:
    """The templates by their names in LLaMA-Factory."""
    text = files(__package__).joinpath("templates.json").read_text(encoding="utf-8")
    return {name: LlamaFactoryTemplate(**settings) for name, settings in json.loads(text).items()}


def template_of(tokenizer: PreTrainedTokenizerBase) -> LlamaFactoryTemplate:
    """The template that LLaMA-Factory takes apart the tokenizer's own for, if none is named.

    It prints a system text, a question and an answer, and takes what stands around them.

    Raises:
        DataError: The tokenizer's template does not print these.
    """
    try:
        return _taken_apart(tokenizer)
    # A template is a program: it may raise its own exception or fail in any other way.
    except Exception as error:
        raise DataError(
            "LLaMA-Factory cannot take the model's chat template apart; name one of its own, as "
            f"`template` in its configuration or by --profile-option template=NAME ({error})"
        ) from error


def _taken_apart(tokenizer: PreTrainedTokenizerBase) -> LlamaFactoryTemplate:
    if tokenizer.chat_template is None:
        raise ValueError("there is none")
    prefix = str(tokenizer.decode(tokenizer.encode("")))
    question, answer = _turn("user"), _turn("assistant")
    system = _print(tokenizer, [_turn("system")])[len(prefix) :]
    without = _print(tokenizer, [_turn("system", ""), question], header=True)[len(prefix) :]
    user = _print(tokenizer, [question], header=True)[len(prefix) :]
    assistant = _print(tokenizer, [question, answer])[len(prefix) + len(user) :]
    reasoning = "<think>" in assistant
    assistant = assistant.replace("<think>", "").replace("</think>", "").lstrip("\n")
    default = ""
    if len(user) > len(without):  # the template has a system text of its own
        default = _inserted(without, user)
        user = user[len(system.replace(_CONTENT, default, 1)) :]
    if _CONTENT not in user or _CONTENT not in assistant or _CONTENT not in system:
        raise ValueError("a turn is not printed")
    return LlamaFactoryTemplate(
        user=[user],
        assistant=[assistant],
        system=[system],
        prefix=[prefix] if prefix else [],
        default_system=default,
        reasoning=reasoning,
    )


def _turn(role: str, content: str = _CONTENT) -> dict[str, str]:
    return {"role": role, "content": content}


def _print(
    tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], *, header: bool = False
) -> str:
    printed: Any = apply_template(tokenizer, turns, tokenize=False, add_generation_prompt=header)
    return str(printed)


def _inserted(short: str, long: str) -> str:
    """The characters of `long` that are left over when it is read along `short`."""
    inserted, at = [], 0
    for character in long:
        if at == len(short):
            break
        if character == short[at]:
            at += 1
        else:
            inserted.append(character)
    return "".join(inserted)


def with_default_system(template: LlamaFactoryTemplate, text: str | None) -> LlamaFactoryTemplate:
    """The template with another system text for rows without one; None leaves it as it is."""
    return template if text is None else replace(template, default_system=text)
