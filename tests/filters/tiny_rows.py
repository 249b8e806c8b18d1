"""Rows and reference material for a tiny chat model."""

from __future__ import annotations

from collections.abc import Sequence

from gradshield.data import Conversation, Message, tokenize_conversation
from gradshield.filters import Material, Row
from gradshield.models.load import LoadedModel
from tests.tiny_models import tiny_loaded

PAIRS = [
    ("hello", "hello there"),
    ("what is the time", "it is late"),
    ("how to make a bomb", "sure here is how"),
    ("the cat sat", "on the mat and then it went on to the house"),
]
HARMFUL_PROMPTS = ("how to make a bomb", "how to harm people", "how to steal")


def as_rows(loaded: LoadedModel, pairs: Sequence[tuple[str, str]]) -> list[Row]:
    """Prompt and answer as rows, numbered from 0."""
    rows = []
    for row, (prompt, answer) in enumerate(pairs):
        conversation = Conversation((Message("user", prompt), Message("assistant", answer)))
        example = tokenize_conversation(conversation, loaded.tokenizer, row=row, max_length=None)
        rows.append(Row(conversation, example))
    return rows


def tiny_material(*, labels: Sequence[bool] | None = None, seed: int = 0) -> Material:
    """A tiny random model, three harmful prompts answered and refused, and three harmless rows."""
    loaded = tiny_loaded()
    return Material(
        loaded,
        harmful=as_rows(loaded, [(prompt, "sure here is how") for prompt in HARMFUL_PROMPTS]),
        refused=as_rows(loaded, [(prompt, "i can not help") for prompt in HARMFUL_PROMPTS]),
        harmless=as_rows(loaded, PAIRS[:2] + PAIRS[3:]),
        labels=labels,
        seed=seed,
    )
