"""Harmless reference rows: what FIHS looks like when nothing is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from gradshield.data import DEFAULT_PROFILE, Profile, tokenize_rows
from gradshield.data.pairs import TokenizedPair
from gradshield.data.rows import SourceRow
from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.models.load import LoadedModel
from gradshield.probes.harmless_pairs import harmless_pairs
from gradshield.probes.harmless_rows import harmless_rows, harmless_texts


def reference_examples(
    loaded: LoadedModel, profile: Profile | None = None, like: Mapping[str, Any] | None = None
) -> list[TokenizedExample]:
    """Tokenised reference rows, numbered from 0.

    Their answers are written ones and not the model's own, whose scores lie much closer together
    than those of any data set by other authors (docs/decisions/0004).

    Args:
        loaded: The model.
        profile: Trainer profile of the rows that are compared with these: where it counts prompts,
            or leaves out the end of a turn, so must the reference. None for the default one.
        like: One of those rows, whose shape the reference takes where the profile reads several.

    Raises:
        UserError: The profile puts no token of such rows into the loss.
    """
    return reference_examples_for(loaded.tokenizer, profile, like)


def reference_examples_for(
    tokenizer: PreTrainedTokenizerBase,
    profile: Profile | None = None,
    like: Mapping[str, Any] | None = None,
) -> list[TokenizedExample]:
    """The same, where there is no model beside the tokenizer."""
    if profile is None or profile.name == DEFAULT_PROFILE:
        return [row.example for row in harmless_rows(tokenizer, "validation")]
    rows = [
        SourceRow(number, None, profile.exchange(question, answer, like or {}))
        for number, (_, question, answer) in enumerate(harmless_texts("validation"))
    ]
    examples, rejections, _ = tokenize_rows(rows, tokenizer, profile=profile, max_length=None)
    if rejections:
        first = next(iter(rejections.values()))
        raise UserError(
            f"The profile {profile.name} puts nothing of a plain question and answer into the loss "
            f"({first.detail}), so there is no harmless reference to choose a threshold by."
        )
    return examples


def reference_pairs(loaded: LoadedModel) -> list[TokenizedPair]:
    """Tokenised preference rows, numbered from 0; of the same prompts."""
    return reference_pairs_for(loaded.tokenizer)


def reference_pairs_for(tokenizer: PreTrainedTokenizerBase) -> list[TokenizedPair]:
    """The same, where there is no model beside the tokenizer."""
    return [row.pair for row in harmless_pairs(tokenizer)]
