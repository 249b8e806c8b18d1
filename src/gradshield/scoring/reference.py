"""Harmless reference rows: what FIHS looks like when nothing is wrong."""

from __future__ import annotations

from gradshield.data.pairs import TokenizedPair
from gradshield.data.tokenization import TokenizedExample
from gradshield.models.load import LoadedModel
from gradshield.probes.harmless_pairs import harmless_pairs
from gradshield.probes.harmless_rows import harmless_rows


def reference_examples(loaded: LoadedModel) -> list[TokenizedExample]:
    """Tokenised reference rows, numbered from 0.

    Their answers are written ones and not the model's own, whose scores lie much closer together
    than those of any data set by other authors (docs/decisions/0004).
    """
    return [row.example for row in harmless_rows(loaded.tokenizer, "validation")]


def reference_pairs(loaded: LoadedModel) -> list[TokenizedPair]:
    """Tokenised preference rows, numbered from 0; of the same prompts."""
    return [row.pair for row in harmless_pairs(loaded.tokenizer)]
