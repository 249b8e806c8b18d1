"""The oracle: backward passes for one example and a dot product with the direction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.models.likelihood import response_token_losses
from gradshield.models.open_weights import differentiable_weights
from gradshield.probes.direction import Direction
from gradshield.scoring.engines.base import (
    ExampleScore,
    PreparedEngine,
    Reduction,
    divisor,
)
from gradshield.scoring.engines.kernels import differentiable_kernels, kernel_notes


@dataclass(frozen=True)
class PerExample:
    """Exact by definition and slow: batches of one and a gradient the size of the model.

    Attributes:
        tokens: Tell what each token adds. The gradient is then differentiated once more, by the
            weight of each token's loss, which costs about as much again.
    """

    tokens: bool = True
    name: str = "per_example"

    def prepare(
        self,
        model: PreTrainedModel,
        direction: Direction,
        reduction: Reduction,
        sample: Sequence[TokenizedExample],
    ) -> PreparedEngine:
        """Choose the kernels; see `Engine`."""
        placed = direction.to(model.device)

        def score(batch: Sequence[TokenizedExample]) -> list[ExampleScore]:
            return [self._score(model, placed, example, reduction) for example in batch]

        return PreparedEngine(score, kernel_notes(model) if self.tokens else ())

    def _score(
        self,
        model: PreTrainedModel,
        direction: Direction,
        example: TokenizedExample,
        reduction: Reduction,
    ) -> ExampleScore:
        with ExitStack() as stack:
            if self.tokens:
                stack.enter_context(differentiable_kernels(model))
            weights = stack.enter_context(differentiable_weights(model, direction.tensors))
            losses = response_token_losses(model, [example])[0]
            shares = torch.ones_like(losses, requires_grad=self.tokens)
            gradients = torch.autograd.grad(
                (losses * shares).sum(), weights, materialize_grads=True, create_graph=self.tokens
            )
            product = inner_product(gradients, direction.tensors.values())
            length = direction.norm * divisor(reduction, len(losses))
            loss = float(losses.detach().mean())
            if self.tokens and product.requires_grad:
                parts = -torch.autograd.grad(product, shares)[0].double() / length
                return ExampleScore.of_tokens(example.row, parts, loss, reduction)
            return ExampleScore(example.row, -float(product.detach()) / length, loss)


def example_gradient(
    model: PreTrainedModel, names: Iterable[str], example: TokenizedExample, reduction: Reduction
) -> tuple[list[Tensor], float]:
    """Gradient of l(z) by the named weights, in their order; and the mean loss of z."""
    with differentiable_weights(model, names) as weights:
        losses = response_token_losses(model, [example])[0]
        loss = losses.sum() / divisor(reduction, len(losses))
        gradients = torch.autograd.grad(loss, weights, materialize_grads=True)
    return list(gradients), float(losses.detach().mean())


def inner_product(some: Iterable[Tensor], others: Iterable[Tensor]) -> Tensor:
    """Sum over pairs of tensors of the products of their numbers, in double precision."""
    products = [
        torch.dot(one.float().flatten(), other.to(one.device).flatten()).double().cpu()
        for one, other in zip(some, others, strict=True)
    ]
    return torch.stack(products).sum()
