"""FIHS of the step that Adam would take on an example, instead of that of gradient descent.

Adam divides by the root of a running mean of squared gradients, so what it does with an example
depends on what it saw before: its state comes from a short warm-up, at theta_0 throughout
(Xia et al. 2024, "LESS", section 3.1, whose warm-up also moves the weights).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.probes.direction import Direction
from gradshield.scoring.engines.base import ExampleScore, PreparedEngine, Reduction
from gradshield.scoring.engines.per_example import example_gradient, inner_product

MEAN_DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8
"""Adam's defaults."""


@dataclass
class AdamState:
    """Running means of the gradient and of its square, by weight, after some steps."""

    means: list[Tensor]
    squares: list[Tensor]
    steps: int = 0

    def see(self, gradients: Sequence[Tensor]) -> None:
        """Take in one gradient."""
        self.steps += 1
        for mean, square, gradient in zip(self.means, self.squares, gradients, strict=True):
            mean.lerp_(gradient.float(), 1 - MEAN_DECAY)
            square.lerp_(gradient.float().square(), 1 - SQUARE_DECAY)

    def step_on(self, index: int, gradient: Tensor) -> Tensor:
        """What Adam would subtract from a weight, at a learning rate of one, after this gradient.

        The state itself stays as it is.
        """
        mean = self.means[index].lerp(gradient.float(), 1 - MEAN_DECAY)
        square = self.squares[index].lerp(gradient.float().square(), 1 - SQUARE_DECAY)
        steps = self.steps + 1
        unbiased = (square / (1 - SQUARE_DECAY**steps)).sqrt()
        return (mean / (1 - MEAN_DECAY**steps)) / (unbiased + EPSILON)


class AdamPreconditioned:
    """-<Adam's step on z, g> / |g|, after a warm-up on the sample."""

    name = "per_example_adam"

    def prepare(
        self,
        model: PreTrainedModel,
        direction: Direction,
        reduction: Reduction,
        sample: Sequence[TokenizedExample],
    ) -> PreparedEngine:
        """Warm up on the sample, one example a step; see `Engine`."""
        state = warmed_up(model, direction, reduction, sample)

        placed = direction.to(model.device)

        def score(batch: Sequence[TokenizedExample]) -> list[ExampleScore]:
            return [_score(model, placed, example, reduction, state) for example in batch]

        note = f"Adam's state after {state.steps} steps on reference rows, at the weights as is"
        return PreparedEngine(score, (note,))


def warmed_up(
    model: PreTrainedModel,
    direction: Direction,
    reduction: Reduction,
    sample: Sequence[TokenizedExample],
) -> AdamState:
    """Adam's state after one step on each example of the sample, none of which moves a weight."""

    def zeros() -> list[Tensor]:
        return [torch.zeros_like(part, device=model.device) for part in direction.tensors.values()]

    state = AdamState(zeros(), zeros())
    for example in sample:
        state.see(example_gradient(model, direction.tensors, example, reduction)[0])
    return state


def _score(
    model: PreTrainedModel,
    direction: Direction,
    example: TokenizedExample,
    reduction: Reduction,
    state: AdamState,
) -> ExampleScore:
    gradients, loss = example_gradient(model, direction.tensors, example, reduction)
    steps = (state.step_on(index, gradient) for index, gradient in enumerate(gradients))
    product = float(inner_product(steps, direction.tensors.values()))
    return ExampleScore(example.row, -product / direction.norm, loss)
