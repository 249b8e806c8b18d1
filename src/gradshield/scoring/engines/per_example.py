"""The oracle: one backward pass per example and a dot product with the direction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.models.layers import layers_by_name, trainable_only
from gradshield.models.likelihood import response_token_losses
from gradshield.probes.direction import Direction
from gradshield.scoring.engines.base import (
    DEFAULT_REDUCTION,
    ExampleScore,
    Reduction,
    divisor,
)


class PerExample:
    """Exact by definition and slow: batches of one and a gradient the size of the model."""

    name = "per_example"

    def __call__(
        self,
        model: PreTrainedModel,
        direction: Direction,
        batches: Sequence[Sequence[TokenizedExample]],
        reduction: Reduction = DEFAULT_REDUCTION,
    ) -> Iterator[list[ExampleScore]]:
        """Yield the scores of each batch; see `Engine`."""
        weights = [layer.weight for layer in layers_by_name(model, direction.tensors)]
        unit = [tensor.to(model.device) / direction.norm for tensor in direction.tensors.values()]
        for batch in batches:
            with trainable_only(model, weights):
                scores = [_score(model, weights, unit, example, reduction) for example in batch]
            yield scores


def _score(
    model: PreTrainedModel,
    weights: list[torch.Tensor],
    unit: list[torch.Tensor],
    example: TokenizedExample,
    reduction: Reduction,
) -> ExampleScore:
    losses = response_token_losses(model, [example])[0]
    loss = losses.sum() / divisor(reduction, len(losses))
    gradients = torch.autograd.grad(loss, weights, materialize_grads=True)
    products = [
        torch.dot(gradient.float().flatten(), part.flatten()).double()
        for gradient, part in zip(gradients, unit, strict=True)
    ]
    fihs = -float(torch.stack(products).sum())
    return ExampleScore(example.row, fihs, float(losses.detach().mean()))
