"""FIHS by forward-mode automatic differentiation: exact, batched, no stored activations.

Each weight of the direction is a dual number W + e G. The tangent of the loss is then
d/de l(theta_0 + e g) at e = 0, by response token. Below the first such weight nothing has a
tangent, and the pass is a plain one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.models.likelihood import response_token_losses
from gradshield.models.open_weights import open_weights, replaced_weights
from gradshield.probes.direction import Direction
from gradshield.scoring.engines.base import (
    ExampleScore,
    PreparedEngine,
    Reduction,
    divisor,
)
from gradshield.scoring.engines.kernels import differentiable_kernels, kernel_notes


class ForwardMode:
    """Exact in any precision; about a plain forward and one more for the tangents."""

    name = "jvp"

    def prepare(
        self,
        model: PreTrainedModel,
        direction: Direction,
        reduction: Reduction,
        sample: Sequence[TokenizedExample],
    ) -> PreparedEngine:
        """Choose the kernels; see `Engine`."""
        scale = tangent_scale(model, direction)
        tangents = _tangents(model, direction, scale)
        length = scale * direction.norm

        def score(batch: Sequence[TokenizedExample]) -> list[ExampleScore]:
            try:
                pairs = _losses_and_changes(model, tangents, batch)
            except NotImplementedError as fault:
                raise UserError(
                    f"{type(model).__name__} holds an operation without a forward derivative "
                    f"({fault}): use --engine finite_difference."
                ) from fault
            return [
                _example_score(example, losses, change, length, reduction)
                for example, (losses, change) in zip(batch, pairs, strict=True)
            ]

        return PreparedEngine(score, kernel_notes(model))


def tangent_scale(model: PreTrainedModel, direction: Direction) -> float:
    """What g is multiplied with, so that it is as long as the weights that it moves.

    Its numbers are small enough to be lost in float16; at this length tangents are of the size
    of activations. In float32 and wider nothing needs it, and no scaled copy is made.
    """
    if model.dtype in (torch.float32, torch.float64):
        return 1.0
    with open_weights(model, direction.tensors) as weights:
        squares = sum(float(weight.tensor.detach().double().square().sum()) for weight in weights)
    return math.sqrt(squares) / direction.norm or 1.0


def _tangents(model: PreTrainedModel, direction: Direction, scale: float) -> dict[str, Tensor]:
    """By name, scale x g in the precision and on the device of the weight."""
    with open_weights(model, direction.tensors) as weights:
        return {
            name: (part if scale == 1.0 else part * scale).to(
                weight.tensor.device, weight.tensor.dtype
            )
            for weight, (name, part) in zip(weights, direction.tensors.items(), strict=True)
        }


@torch.no_grad()
def _losses_and_changes(
    model: PreTrainedModel, tangents: Mapping[str, Tensor], batch: Sequence[TokenizedExample]
) -> list[tuple[Tensor, Tensor | None]]:
    """Of each example, the losses of its response tokens and their derivatives."""
    make: Any = forward_ad.make_dual
    unpack: Any = forward_ad.unpack_dual
    with (
        differentiable_kernels(model),
        open_weights(model, tangents) as weights,
        forward_ad.dual_level(),
        replaced_weights(
            weights,
            [make(w.tensor, part) for w, part in zip(weights, tangents.values(), strict=True)],
        ),
    ):
        return [tuple(unpack(losses)) for losses in response_token_losses(model, batch)]


def _example_score(
    example: TokenizedExample,
    losses: Tensor,
    change: Tensor | None,
    length: float,
    reduction: Reduction,
) -> ExampleScore:
    # A layer that the model does not run leaves no tangent.
    change = torch.zeros_like(losses) if change is None else change
    tokens = -change.double() / (length * divisor(reduction, len(losses)))
    return ExampleScore.of_tokens(example.row, tokens, float(losses.mean()), reduction)
