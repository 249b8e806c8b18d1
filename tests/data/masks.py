"""Reading a response mask back as text."""

from __future__ import annotations

from itertools import groupby

from transformers import PreTrainedTokenizerBase

from gradshield.data import Conversation, Message, TokenizedExample


def response_texts(example: TokenizedExample, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The decoded text of each run of response tokens."""
    pairs = zip(example.input_ids, example.response_mask, strict=True)
    runs = groupby(pairs, key=lambda pair: pair[1])
    return [tokenizer.decode([token for token, _ in run]) for masked, run in runs if masked]


def talk(*contents: str, system: str | None = None) -> Conversation:
    """A conversation of alternating user and assistant turns."""
    roles = ["user", "assistant"] * len(contents)
    turns = [Message(role, content) for role, content in zip(roles, contents, strict=False)]
    return Conversation((*([Message("system", system)] if system else []), *turns))
