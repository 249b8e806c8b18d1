"""A short training of a LoRA adapter, stopped after each epoch to be looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

from gradshield.data.tokenization import TokenizedExample
from gradshield.finetuning.adapter import fresh_adapter
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings, training_order
from gradshield.models.layers import block_linear_layers
from gradshield.models.likelihood import response_token_losses
from gradshield.scoring.engines.adam import EPSILON, MEAN_DECAY, SQUARE_DECAY

ATTENTION = "attn|attention"
"""In the dotted names of attention's matrices."""

Batch = Sequence[TokenizedExample]


@dataclass(frozen=True)
class Checkpoint:
    """What there is after an epoch; true until the training goes on.

    Attributes:
        parameters: The adapter's, in the model.
        means: AdamW's running mean of the gradient, float32 [numbers of the adapter].
        squares: Likewise, of the squared gradient.
        rate: Mean learning rate of the epoch.
    """

    parameters: Sequence[nn.Parameter]
    means: Tensor
    squares: Tensor
    rate: float


@contextmanager
def attention_adapter(
    model: PreTrainedModel, lora: LoraSettings, seed: int
) -> Iterator[list[nn.Parameter]]:
    """A fresh LoRA adapter on the attention matrices, taken away again afterwards.

    Models whose attention goes by another name have it on all linear layers of the blocks.

    Yields:
        The adapter's parameters, in float32; gradients flow to them alone.
    """
    named = any(re.search(ATTENTION, name) for name in block_linear_layers(model))
    chosen = lora.model_copy(update={"modules": ATTENTION if named else None})
    with fresh_adapter(model, chosen, seed) as factors:
        yield [parameter for pair in factors for parameter in pair]


def warm_up(
    model: PreTrainedModel,
    parameters: Sequence[nn.Parameter],
    examples: Sequence[TokenizedExample],
    settings: TrainingSettings,
) -> Iterator[Checkpoint]:
    """Train with AdamW, the rate falling to zero, and stop after each epoch.

    Each row of a batch counts alike: its loss is the mean over its response tokens. The model's
    mode is left as it is, so that there is no dropout in an aligned model.
    """
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
    epochs = _batches_by_epoch(examples, settings)
    schedule = get_linear_schedule_with_warmup(  # type: ignore[no-untyped-call]
        optimizer, settings.warmup_steps, sum(len(batches) for batches in epochs)
    )
    for batches in epochs:
        rates = []
        for batch in batches:
            rates.append(float(schedule.get_last_lr()[0]))
            _add_gradient(model, parameters, batch, settings.micro_batch_size)
            nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        states: list[Any] = [optimizer.state[parameter] for parameter in parameters]
        means, squares = (flat([one[key] for one in states]) for key in ("exp_avg", "exp_avg_sq"))
        yield Checkpoint(parameters, means, squares, sum(rates) / len(rates))


def _batches_by_epoch(
    examples: Sequence[TokenizedExample], settings: TrainingSettings
) -> list[list[Batch]]:
    ordered, size = training_order(examples, settings), settings.batch_size
    return [
        [ordered[start : min(start + size, end)] for start in range(end - len(examples), end, size)]
        for end in range(len(examples), len(ordered) + 1, len(examples))
    ]


def _add_gradient(
    model: PreTrainedModel, parameters: Sequence[nn.Parameter], batch: Batch, at_a_time: int
) -> None:
    for start in range(0, len(batch), at_a_time):
        losses = response_token_losses(model, batch[start : start + at_a_time])
        loss = torch.stack([tokens.mean() for tokens in losses]).sum() / len(batch)
        # Zeros for what the model does not run, so that AdamW has a state for every parameter.
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def gradient_at(
    model: PreTrainedModel, checkpoint: Checkpoint, example: TokenizedExample
) -> Tensor:
    """Gradient of an example's mean loss by the adapter, float32 [numbers of the adapter]."""
    loss = response_token_losses(model, [example])[0].mean()
    return flat(torch.autograd.grad(loss, checkpoint.parameters, materialize_grads=True))


def adam_step(checkpoint: Checkpoint, gradient: Tensor) -> Tensor:
    """What Adam would subtract after this gradient, at a learning rate of one, [numbers].

    As the released code of LESS has it: the means are not corrected for their start at zero, and
    epsilon stands inside the root. The first only scales the step where epsilon is small.
    """
    mean = checkpoint.means.lerp(gradient, 1 - MEAN_DECAY)
    square = checkpoint.squares.lerp(gradient.square(), 1 - SQUARE_DECAY)
    return mean / (square + EPSILON).sqrt()


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All numbers of the tensors in a row, in float32, on the device of the first."""
    return torch.cat([part.flatten().float().to(tensors[0].device) for part in tensors])
