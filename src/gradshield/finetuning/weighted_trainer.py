"""TRL's trainer with a weight on each row's loss, as `--action downweight` writes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from trl import SFTTrainer  # type: ignore[attr-defined]

from gradshield.errors import UserError
from gradshield.run.actions import WEIGHT

IGNORED = -100
"""Label of a token without loss, as in transformers."""


@dataclass(frozen=True)
class _WithWeights:
    """A collator that hands the weights on, of which the usual one knows nothing."""

    collate: Callable[[list[dict[str, Any]]], dict[str, Any]]

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        # Rows to evaluate on have no weight: they count whole.
        weights = [row.get(WEIGHT, 1.0) for row in rows]
        return {**self.collate(rows), WEIGHT: torch.tensor(weights)}


class WeightedSFTTrainer(SFTTrainer):
    """`trl.SFTTrainer` for rows with `gradshield_weight`; all arguments are the same.

    The loss of a step is the sum over response tokens of weight times negative log-likelihood,
    divided by the number of response tokens: a row's gradient is cut to its weight, and rows of
    weight 1 train as they would without the others' weights.

    Raises:
        UserError: The rows have no weights, or are to be packed, which would mix them.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # As they are, and not as TRL's types have them.
        settings: Any = self.args
        rows: Any = self.train_dataset
        columns = rows.column_names
        if columns is not None and WEIGHT not in columns:
            raise UserError(
                f"The rows have no {WEIGHT}: write them by `gradshield apply RUN --action "
                "downweight`, and train on annotated.*."
            )
        if settings.packing or settings.padding_free:
            raise UserError("Weights are of rows: leave packing and padding_free off.")
        self.data_collator = _WithWeights(self.data_collator)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()  # type: ignore[no-untyped-call]
        known: Any = self._signature_columns
        if WEIGHT not in known:
            self._signature_columns = [*known, WEIGHT]  # type: ignore[assignment]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """This batch's share of the loss of a step, in nats."""
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
        )
        targets = inputs["labels"][:, 1:]
        losses = cross_entropy(
            outputs.logits[:, :-1].float().transpose(1, 2),
            targets,
            ignore_index=IGNORED,
            reduction="none",
        )
        total = (losses.sum(dim=1) * inputs[WEIGHT].to(losses)).sum()
        if num_items_in_batch is None:
            loss = total / (targets != IGNORED).sum().clamp(min=1)
        else:
            # Counted over all processes, whose gradients are then averaged.
            loss = total / num_items_in_batch * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss
