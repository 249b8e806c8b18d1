"""Score examples with an engine, and keep the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.models.load import LoadedModel
from gradshield.probes.direction import Direction
from gradshield.scoring.batching import batches_by_length
from gradshield.scoring.engines import ENGINES, Engine, ExampleScore, default_engine
from gradshield.scoring.engines.base import DEFAULT_REDUCTION, Reduction


def choose_engine(name: str, loaded: LoadedModel) -> Engine:
    """The engine of a name; `auto` chooses by the model's precision."""
    chosen = default_engine(loaded.model.dtype) if name == "auto" else name
    if chosen not in ENGINES:
        raise UserError(f"Unknown engine {name}: choose auto or one of {', '.join(ENGINES)}.")
    return ENGINES[chosen]


def score_examples(
    loaded: LoadedModel,
    direction: Direction,
    examples: Sequence[TokenizedExample],
    *,
    engine: Engine,
    batch_tokens: int,
    reduction: Reduction = DEFAULT_REDUCTION,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[int, ExampleScore]:
    """FIHS of every example, by its row.

    Args:
        loaded: The aligned model.
        direction: g, the gradient of the safety proxy.
        examples: Tokenised examples.
        engine: How to compute the directional derivative.
        batch_tokens: Padded tokens of one batch.
        reduction: What l(z) is of its response tokens' losses, see `divisor`.
        progress: Called after each batch with the number of examples in it.
    """
    batches = batches_by_length(examples, batch_tokens)
    scores: dict[int, ExampleScore] = {}
    for batch_scores in engine(loaded.model, direction, batches, reduction):
        scores.update({score.row: score for score in batch_scores})
        progress(len(batch_scores))
    return scores
