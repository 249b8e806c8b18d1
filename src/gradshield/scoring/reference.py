"""Harmless reference rows: what FIHS looks like when nothing is wrong."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from gradshield.data.tokenization import TokenizedExample
from gradshield.models.load import LoadedModel
from gradshield.probes.harmless_rows import harmless_rows


def reference_examples(loaded: LoadedModel) -> list[TokenizedExample]:
    """Tokenised reference rows, numbered from 0.

    Their answers are written ones and not the model's own, whose scores lie much closer together
    than those of any data set by other authors (docs/decisions/0004).
    """
    return reference_examples_for(loaded.tokenizer)


def reference_examples_for(tokenizer: PreTrainedTokenizerBase) -> list[TokenizedExample]:
    """The same, where there is no model beside the tokenizer."""
    return [row.example for row in harmless_rows(tokenizer, "validation")]
