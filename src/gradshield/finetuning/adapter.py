"""A LoRA adapter that stands on a model for a while, and its two factors at every layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gradshield.finetuning.supervised import LoraSettings, lora_config
from gradshield.models.open_weights import trainable_only

Factors = tuple[Tensor, Tensor]
"""(A [rank, in], B [out, rank]): the change of a layer's weight is in proportion to B @ A."""
ADAPTER = "default"
"""The name that PEFT gives an adapter."""


def put_adapter(model: PreTrainedModel, lora: LoraSettings, seed: int) -> Any:
    """Put a fresh adapter on linear layers of the blocks; B is zero, so nothing changes yet.

    Args:
        model: Gets the adapter in place, and gradients flow to the adapter alone.
        lora: Rank, alpha and layers.
        seed: Of A. The same seed gives the same A, whatever was drawn before.

    Returns:
        The `PeftModel` around the model.
    """
    from peft import get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, lora_config(model, lora))


@contextmanager
def fresh_adapter(
    model: PreTrainedModel, lora: LoraSettings, seed: int, *, merge: bool = False
) -> Iterator[list[tuple[nn.Parameter, nn.Parameter]]]:
    """Let a model carry a fresh adapter inside the block, where gradients flow to it alone.

    Args:
        model: Computes with the adapter meanwhile. Afterwards it is itself again, its own weights
            never touched, unless they are asked to take the adapter in.
        lora: Rank, alpha and layers.
        seed: Of A.
        merge: Merge the adapter into the weights at the end, unless the block fails.

    Yields:
        By layer, in the order of the model, the parameters A [rank, in] and B [out, rank].
    """
    with trainable_only(model, ()):
        adapted = put_adapter(model, lora, seed)
        leave = adapted.unload
        try:
            yield adapter_factors(model)
            if merge:
                leave = adapted.merge_and_unload
        finally:
            leave()


def adapter_factors(model: PreTrainedModel) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """A and B of every layer that carries an adapter, in the order of the model."""
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
    return [(layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight) for layer in layers]


def inner_product_of_changes(some: Factors, others: Factors) -> Tensor:
    """Sum of the products of the entries of B A and B' A', without making either matrix."""
    (a, b), (other_a, other_b) = some, others
    return ((b.T @ other_b) * (a @ other_a.T)).sum()


@torch.no_grad()
def copied(factors: Sequence[Factors]) -> list[Factors]:
    """Copies that training no longer moves."""
    return [(a.detach().clone(), b.detach().clone()) for a, b in factors]


@torch.no_grad()
def write_back(factors: Sequence[Factors], values: Sequence[Factors]) -> None:
    """Give an adapter the factors that `copied` took from it."""
    for into, values_of_layer in zip(factors, values, strict=True):
        for parameter, value in zip(into, values_of_layer, strict=True):
            parameter.copy_(value)
