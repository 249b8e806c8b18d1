"""Weights that are trained in place, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gradshield.models.layers import block_linear_layers


def linear_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """Copies of the weights of the block linear layers, by layer name: all that training moves."""
    layers = block_linear_layers(model)
    return {name: layer.weight.detach().clone() for name, layer in layers.items()}


@torch.no_grad()
def restore(model: PreTrainedModel, weights: dict[str, Tensor]) -> None:
    """Write weights taken by `linear_weights` back, bit for bit."""
    for name, layer in block_linear_layers(model).items():
        layer.weight.copy_(weights[name])


@contextmanager
def weights_restored(model: PreTrainedModel) -> Iterator[None]:
    """Leave the block linear layers as they were before the block, also when it fails.

    Training decides what may be trained: that is put back too, of every parameter.
    """
    before = linear_weights(model)
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        restore(model, before)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
