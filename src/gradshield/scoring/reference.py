"""Harmless reference rows: what FIHS looks like when nothing is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.models.load import LoadedModel
from gradshield.models.usable import embedded_tokens
from gradshield.probes.harmless_rows import harmless_rows
from gradshield.progress import Progress

GUESSING_SHARE = 0.9
"""The built-in model's loss is 0.34 of that of drawing at random; with its embeddings moved by one
place, 0.94, by a hundred, 1.06, and in a random order, 1.11."""


def reference_examples(loaded: LoadedModel) -> list[TokenizedExample]:
    """Tokenised reference rows, numbered from 0.

    Their answers are written ones and not the model's own, whose scores lie much closer together
    than those of any data set by other authors (docs/decisions/0004).
    """
    return [row.example for row in harmless_rows(loaded.tokenizer, "validation")]


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
