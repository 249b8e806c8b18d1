"""What a filter costs, counted while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from gradshield.filters.base import Filter, Material, Row, Scores
from gradshield.models.layers import block_weights


@dataclass
class Passes:
    """Tokens that went through the model.

    Attributes:
        forward: Token positions of all forward passes, padding included.
        backward: Of those, the ones that a gradient came back through.
    """

    forward: int = 0
    backward: int = 0


@dataclass(frozen=True)
class Cost:
    """Cost of scoring a data set, the filter's own preparation included.

    Attributes:
        forwards: Plain forward passes over the data set that the tokens add up to.
        backwards: Likewise, backward passes.
        trainings: Extra finetunes; their passes are counted above too.
    """

    forwards: float
    backwards: float
    trainings: int


def score_with_cost(chosen: Filter, rows: Sequence[Row], material: Material) -> tuple[Scores, Cost]:
    """Let a filter score rows, and count what it spends.

    Raises:
        ValueError: The material lacks what the filter needs, or a score is missing or not finite.
    """
    with counted_passes(material.loaded.model) as passes:
        scores = chosen.score(rows, material)
    if scores.values.shape != (len(rows),) or not np.isfinite(scores.values).all():
        raise ValueError(f"The filter {chosen.name} did not give every row a finite score.")
    tokens = sum(len(row.example.input_ids) for row in rows)
    return scores, Cost(passes.forward / tokens, passes.backward / tokens, scores.trainings)


@contextmanager
def counted_passes(model: PreTrainedModel) -> Iterator[Passes]:
    """Count tokens where they pass the last layer of the last block."""
    passes = Passes()

    def count(_: Any, __: Any, output: Tensor) -> None:
        tokens = output.shape[:-1].numel()
        passes.forward += tokens
        if output.requires_grad:
            register: Any = output.register_hook
            register(lambda _: _count_backward(passes, tokens))

    last = list(block_weights(model).values())[-1].module
    hook = last.register_forward_hook(count)
    try:
        yield passes
    finally:
        hook.remove()


def _count_backward(passes: Passes, tokens: int) -> None:
    passes.backward += tokens
