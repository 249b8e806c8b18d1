"""A plain training loop for losses that TRL's trainer does not know.

Optimiser, rates and the cut of long gradients are those of `finetune`, and so are the batches:
with the same loss it ends at the same weights, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.finetuning.supervised import TrainingSettings, training_order
from gradshield.models.likelihood import response_token_losses
from gradshield.scoring.batching import batches_by_length


def descend(
    parameters: Sequence[nn.Parameter],
    settings: TrainingSettings,
    steps: int,
    add_gradients: Callable[[int], None],
    advance: Callable[[int], None],
) -> None:
    """Take steps of AdamW on gradients that the caller computes.

    Args:
        parameters: What is trained.
        settings: Rate, warm-up and longest gradient; the rate falls to zero at the last step.
        steps: How many.
        add_gradients: Given the number of the step, adds to the parameters' `grad`.
        advance: Told of every step.

    Raises:
        UserError: A gradient is not finite.
    """
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(  # type: ignore[no-untyped-call]
        optimiser, settings.warmup_steps, steps
    )
    for step in range(steps):
        optimiser.zero_grad()
        add_gradients(step)
        length = nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        if not torch.isfinite(length):
            raise UserError(
                f"The gradient of step {step + 1} is not finite: use a lower learning rate, or "
                "load the model in float32."
            )
        optimiser.step()
        schedule.step()
        advance(1)
    optimiser.zero_grad()


def step_batches(
    examples: Sequence[TokenizedExample], settings: TrainingSettings
) -> list[list[TokenizedExample]]:
    """The batches of all epochs, one a step, as `finetune` would take them."""
    ordered = training_order(examples, settings)
    return [
        ordered[start : start + settings.batch_size]
        for start in range(0, len(ordered), settings.batch_size)
    ]


def rounds(
    examples: Sequence[TokenizedExample], settings: TrainingSettings
) -> Iterator[list[list[TokenizedExample]]]:
    """The batches of a round over all examples, then of another in a new order, without end."""
    for seed in count(settings.seed):
        yield step_batches(examples, settings.model_copy(update={"epochs": 1, "seed": seed}))


def add_weighted_gradients(
    model: PreTrainedModel, examples: Sequence[TokenizedExample], weights: Tensor
) -> Tensor:
    """Add the gradient of the weighted sum of mean losses to the trainable parameters' `grad`.

    The examples go through the model in batches of like length, so memory does not grow with
    their number. A batch whose weights are all zero costs no backward pass.

    Args:
        model: Gradients flow to whatever of it is trainable.
        examples: Tokenised examples.
        weights: [examples].

    Returns:
        The mean loss of a response token of every example, in nats, without gradient, on the CPU,
        [examples].
    """
    losses = torch.empty(len(examples))
    placed = [replace(example, row=place) for place, example in enumerate(examples)]
    for batch in batches_by_length(placed):
        places = [example.row for example in batch]
        counts = bool(weights[places].any())
        with torch.set_grad_enabled(counts):
            found = torch.stack([part.mean() for part in response_token_losses(model, batch)])
            if counts:
                torch.autograd.backward((weights[places].to(found.device) * found).sum())
        losses[places] = found.detach().cpu()
    return losses


def add_token_gradients(model: PreTrainedModel, examples: Sequence[TokenizedExample]) -> None:
    """Add the gradient of the mean over all response tokens of a step, the loss of `finetune`."""
    tokens = torch.tensor([float(example.response_tokens) for example in examples])
    add_weighted_gradients(model, examples, tokens / tokens.sum())
