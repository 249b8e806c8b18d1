"""TRL's trainer with the very loss that is scored.

What a run trains on is then what FIHS was taken of, to the digit; and since logits are made at
response tokens only and a shared prompt prefix is run once, short answers train several times
faster than through the logits of all positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from trl import SFTTrainer  # type: ignore[attr-defined]

from gradshield.data.tokenization import TokenizedExample
from gradshield.finetuning.drift import bare_model
from gradshield.models.likelihood import response_token_losses

IGNORED = -100
"""Label of a token without loss, as in transformers."""


class ResponseLossTrainer(SFTTrainer):
    """Trains on the sum of response-token losses, divided by the response tokens of a step."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean loss of the response tokens of a whole step, in nats; this batch's share of it.

        Several processes and evaluation, which need the model's wrapper or its outputs, go
        through TRL's own loss, which is the same up to rounding.
        """
        if return_outputs or num_items_in_batch is None or self.accelerator.num_processes > 1:
            theirs: Any = super().compute_loss
            return theirs(model, inputs, return_outputs, num_items_in_batch)
        base = bare_model(self.accelerator.unwrap_model(model))
        losses = torch.cat(response_token_losses(base, _examples(inputs)))
        return losses.sum() / num_items_in_batch


def _examples(inputs: dict[str, Any]) -> list[TokenizedExample]:
    """The rows of a padded batch, with their padding taken off again."""
    rows = zip(
        inputs["input_ids"].tolist(),
        inputs["labels"].tolist(),
        inputs["attention_mask"].sum(dim=1).tolist(),
        strict=True,
    )
    return [
        TokenizedExample(
            row=position,
            input_ids=tuple(token_ids[:length]),
            response_mask=tuple(label != IGNORED for label in labels[:length]),
            truncated=False,
        )
        for position, (token_ids, labels, length) in enumerate(rows)
    ]
