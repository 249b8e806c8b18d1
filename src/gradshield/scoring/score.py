"""Score examples with an engine, and keep the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from gradshield.config import ScoringSettings
from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.memory_faults import is_out_of_memory
from gradshield.models.compiled import compile_blocks_below
from gradshield.models.load import LoadedModel
from gradshield.probes.direction import Direction
from gradshield.progress import Progress
from gradshield.scoring.batching import batch_end, by_length, padded_tokens
from gradshield.scoring.engines import ENGINES, ExampleScore, PreparedEngine, default_engine
from gradshield.scoring.engines.base import ScoreBatch
from gradshield.scoring.engines.finite_difference import FiniteDifference
from gradshield.scoring.memory import BatchBudget
from gradshield.scoring.reference import reference_examples


def prepare_engine(
    loaded: LoadedModel,
    direction: Direction,
    settings: ScoringSettings,
    progress: Progress,
    step: float | None = None,
) -> PreparedEngine:
    """The engine of the settings, made ready on the reference rows; says what it chose, and why.

    Args:
        loaded: The aligned model.
        direction: g, the gradient of the safety proxy.
        settings: Which engine, and of what loss.
        progress: Told of the choices.
        step: The step that finite differences chose before, for scores that go with those; None
            for a new choice.

    Raises:
        UserError: The engine cannot serve this model.
    """
    if settings.engine == "auto":
        name, reason = default_engine(loaded.model)
    else:
        name, reason = settings.engine, "as asked"
    if settings.compile:
        count = compile_blocks_below(loaded.model, list(direction.tensors))
        progress.say(f"{count} blocks lie below the direction and are compiled at their first use.")
    sample = reference_examples(loaded)
    engine = FiniteDifference(step) if step is not None else ENGINES[name]
    prepared = engine.prepare(loaded.model, direction, settings.reduction, sample)
    told = replace(prepared, notes=(f"{name}: {reason}", *prepared.notes))
    progress.say(f"Engine {'; '.join(told.notes)}.")
    if told.warning is not None:
        progress.warn(told.warning)
    return told


def score_examples(
    loaded: LoadedModel,
    examples: Sequence[TokenizedExample],
    engine: PreparedEngine,
    *,
    batch_tokens: int | None,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[int, ExampleScore]:
    """FIHS of every example, by its row.

    A batch that does not fit into the accelerator's memory is halved, and so are those after it.

    Args:
        loaded: The aligned model.
        examples: Tokenised examples.
        engine: How to compute the directional derivative.
        batch_tokens: Padded tokens of one batch; None finds the most that fit on CUDA.
        progress: Called after each batch with the number of examples in it.

    Raises:
        UserError: A single example does not fit into memory.
    """
    in_order = by_length(examples)
    budget = BatchBudget.starting(batch_tokens, loaded.model.device)
    scores: dict[int, ExampleScore] = {}
    start = 0
    while start < len(in_order):
        batch = in_order[start : batch_end(in_order, start, budget.tokens)]
        found = _score_if_it_fits(engine.score, batch, budget)
        if found is None:
            continue
        scores.update({score.row: score for score in found})
        progress(len(batch))
        start += len(batch)
    return scores


def _score_if_it_fits(
    score: ScoreBatch, batch: Sequence[TokenizedExample], budget: BatchBudget
) -> list[ExampleScore] | None:
    """Scores of a batch; or None, and a smaller budget, if memory ran out."""
    tokens = padded_tokens(batch)
    try:
        return budget.measure(lambda: score(batch), tokens)
    except (MemoryError, RuntimeError) as fault:
        if not is_out_of_memory(fault):
            raise
        if len(batch) == 1:
            raise UserError(
                f"Row {batch[0].row} with its {tokens} tokens does not fit into the memory of "
                f"{budget.device}: use a smaller --max-length, or --device cpu."
            ) from fault
        budget.halve(tokens)
    # Only now is the traceback gone, which keeps the tensors of the failed batch alive.
    torch.cuda.empty_cache()
    return None


def try_longest(
    loaded: LoadedModel, examples: Sequence[TokenizedExample], engine: PreparedEngine
) -> None:
    """Score the longest example alone on an accelerator: hours later it would fail as well.

    Raises:
        UserError: It does not fit into memory.
    """
    if loaded.model.device.type != "cpu" and examples:
        score_examples(loaded, by_length(examples)[-1:], engine, batch_tokens=1)
