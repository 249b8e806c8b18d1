"""FIHS as a central difference of the loss along the direction: two forward passes, no gradient.

FIHS(z) = -d/de l(z; theta_0 + e g/|g|) at e = 0, and the derivative is taken between
theta_0 - e g/|g| and theta_0 + e g/|g|.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.models.layers import layers_by_name
from gradshield.models.likelihood import response_token_losses
from gradshield.probes.direction import Direction
from gradshield.scoring.engines.base import (
    DEFAULT_REDUCTION,
    ExampleScore,
    Reduction,
    divisor,
)

STEP = 1e-3
"""Length of the step in parameter space. On the built-in model the relative error is about 1e-3
here; ten times longer it is curvature (6e-2), ten times shorter cancellation (3e-3)."""


@dataclass(frozen=True)
class FiniteDifference:
    """Fast, and works with any attention kernel; needs float32 weights."""

    step: float = STEP
    name: str = "finite_difference"

    def __call__(
        self,
        model: PreTrainedModel,
        direction: Direction,
        batches: Sequence[Sequence[TokenizedExample]],
        reduction: Reduction = DEFAULT_REDUCTION,
    ) -> Iterator[list[ExampleScore]]:
        """Yield the scores of each batch; see `Engine`.

        Raises:
            UserError: The weights are in half precision, where the step would round away.
        """
        if model.dtype != torch.float32:
            raise UserError(
                f"The engine finite_difference needs float32 weights: in {model.dtype} the step "
                "along the direction rounds away. Use --dtype float32 or --engine per_example."
            )
        weights = [layer.weight for layer in layers_by_name(model, direction.tensors)]
        original = [weight.detach().clone() for weight in weights]
        unit = [tensor.to(model.device) / direction.norm for tensor in direction.tensors.values()]
        try:
            for batch in batches:
                _move(weights, original, unit, self.step)
                above = _losses(model, batch)
                _move(weights, original, unit, -self.step)
                below = _losses(model, batch)
                # Before the caller has the scores, so that it never meets a moved model.
                _move(weights, original, unit, 0.0)
                yield [
                    _difference(example.row, high, low, self.step, reduction)
                    for example, high, low in zip(batch, above, below, strict=True)
                ]
        finally:
            _move(weights, original, unit, 0.0)


@torch.no_grad()
def _move(
    weights: list[torch.nn.Parameter], original: list[Tensor], unit: list[Tensor], step: float
) -> None:
    """Set the weights to original + step x unit, always from the original: nothing accumulates."""
    for weight, start, part in zip(weights, original, unit, strict=True):
        if step:
            torch.add(start, part, alpha=step, out=weight)
        else:
            weight.copy_(start)


@torch.inference_mode()
def _losses(model: PreTrainedModel, batch: Sequence[TokenizedExample]) -> list[Tensor]:
    return [losses.double() for losses in response_token_losses(model, batch)]


def _difference(
    row: int, above: Tensor, below: Tensor, step: float, reduction: Reduction
) -> ExampleScore:
    tokens = (below - above) / (2 * step * divisor(reduction, len(above)))
    return ExampleScore(
        row=row,
        fihs=float(tokens.sum()),
        loss=float((above + below).mean() / 2),
        token_fihs=tuple(tokens.tolist()),
    )
