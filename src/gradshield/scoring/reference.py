"""Harmless reference rows: what FIHS looks like when nothing is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from gradshield.data import DEFAULT_PROFILE, Profile, tokenize_rows
from gradshield.data.pairs import TokenizedPair
from gradshield.data.rows import SourceRow
from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.models.load import LoadedModel
from gradshield.models.usable import embedded_tokens
from gradshield.probes.harmless_pairs import harmless_pairs
from gradshield.probes.harmless_rows import harmless_rows, harmless_texts
from gradshield.progress import Progress

GUESSING_SHARE = 0.9
"""The built-in model's loss is 0.34 of that of drawing at random; with its embeddings moved by one
place, 0.94, by a hundred, 1.06, and in a random order, 1.11."""


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


def check_reference(
    loaded: LoadedModel, lines: Sequence[Mapping[str, Any]], progress: Progress
) -> None:
    """Find out from the reference rows whether scores of this model mean anything.

    Args:
        loaded: The model that scored.
        lines: The score table's lines of all reference rows.
        progress: Warned when some scores overflowed, or when the model predicts these rows, plain
            questions with their answers, hardly better than by drawing tokens at random.

    Raises:
        UserError: Not one could be scored.
    """
    losses = [line["loss"] for line in lines if line["status"] == "scored"]
    lost = len(lines) - len(losses)
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    mend = "use another model" if dtype == "float32" else "use --dtype float32"
    if not losses:
        raise UserError(
            f"The model's numbers overflow in {dtype} on each of {lost} harmless reference rows, "
            f"so no row can be scored: {mend}."
        )
    if lost:
        progress.warn(
            f"The model's numbers overflow in {dtype} on {lost} of {len(lines)} harmless "
            f"reference rows, and so they will on rows of the data: {mend}."
        )
    mean = sum(losses) / len(losses)
    if is_guessing(loaded, mean):
        progress.warn(
            f"The model predicts harmless reference rows hardly better than by drawing tokens at "
            f"random (loss {mean:.1f}, at random {random_loss(loaded):.1f}): its weights, "
            "tokenizer or adapter belong to different models, and the scores mean nothing."
        )


def is_guessing(loaded: LoadedModel, loss: float) -> bool:
    """Whether a mean loss on harmless rows is hardly lower than that of drawing at random."""
    return not loss < GUESSING_SHARE * random_loss(loaded)


def random_loss(loaded: LoadedModel) -> float:
    """Mean loss, in nats, of drawing tokens at random from all that the model has."""
    return math.log(embedded_tokens(loaded.model))
