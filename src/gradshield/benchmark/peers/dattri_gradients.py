"""The attributor Grad-Dot of dattri, without projection."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset
from transformers import PreTrainedModel

from gradshield.benchmark.peers.labels import padded, put_back, shortest_first, summed_loss
from gradshield.data.tokenization import TokenizedExample
from gradshield.models.open_weights import differentiable_weights
from gradshield.probes.direction import Direction

Weights = dict[str, Tensor]

BATCH = 1
"""Each example's gradient is as large as the direction, several times over: more is no faster."""


@dataclass(frozen=True)
class DattriGradDot:
    """`TracInAttributor` with one checkpoint, which its documentation calls Grad-Dot."""

    name: str = "dattri"
    package: str = "dattri"
    computes: str = (
        "`vmap` of `grad` forms the whole gradient of each example in a batch, which is multiplied "
        "by that of the target <g, weights>, the direction g. Without projection this is exactly "
        "FIHS."
    )
    comparable_values: bool = True

    def scores(
        self, model: PreTrainedModel, direction: Direction, examples: Sequence[TokenizedExample]
    ) -> list[float]:
        """Attribute one target to the examples in order of length; see `Peer`."""
        order = shortest_first(examples)
        in_order: Any = [examples[row] for row in order]
        # Dattri takes the trainable weights for all there are.
        with differentiable_weights(model, direction.tensors):
            products = _attributor(model, direction).attribute(
                DataLoader(in_order, batch_size=BATCH, collate_fn=padded),
                # The target depends on the weights alone, so any one datum stands for it.
                DataLoader(TensorDataset(torch.zeros(1, 1)), batch_size=1),
            )
        return put_back((-products[:, 0] / direction.norm).tolist(), order)


def _attributor(model: PreTrainedModel, direction: Direction) -> Any:
    def loss(weights: Weights, example: tuple[Tensor, Tensor]) -> Tensor:
        input_ids, targets = (numbers.unsqueeze(0) for numbers in example)
        options = {"input_ids": input_ids, "use_cache": False}
        return summed_loss(functional_call(model, weights, kwargs=options).logits, targets)

    def target(weights: Weights, datum: Any) -> Tensor:
        parts = [
            (weights[f"{name}.weight"].float() * g.to(model.device)).sum()
            for name, g in direction.tensors.items()
        ]
        return torch.stack(parts).sum()

    task = importlib.import_module("dattri.task").AttributionTask(
        loss_func=loss,
        target_func=target,
        model=model,
        checkpoints=[None],
        # The model is there already.
        checkpoints_load_func=lambda model, checkpoint: model,
    )
    return importlib.import_module("dattri.algorithm.tracin").TracInAttributor(
        task,
        weight_list=torch.ones(1),
        normalized_grad=False,
        # None would stand for dattri's default, 512 dimensions.
        projector_kwargs={"proj_type": "identity", "device": model.device},
        device=model.device,
    )
