"""Weights opened for differentiation: gradient flags, and quantised matrices with a way in.

A quantised matrix can be neither moved by a small step nor differentiated. For as long as it is
open, a matrix of zeros stands beside it, `y = Q x + Z x`: the derivative by Z at zero is the
derivative by the matrix that Q stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional
from transformers import PreTrainedModel

from gradshield.models.layers import Weight, weights_by_name

SIDE = "side_weight"


def is_quantised(module: nn.Module) -> bool:
    """Whether a linear layer keeps its matrix in a packed or tensor-subclass form."""
    return isinstance(module, nn.Linear) and type(module.weight) is not nn.Parameter


def has_quantised_layers(model: PreTrainedModel) -> bool:
    """Whether any linear layer is quantised."""
    return any(is_quantised(module) for module in model.modules())


@contextmanager
def open_weights(model: PreTrainedModel, names: Iterable[str]) -> Iterator[list[Weight]]:
    """Weights of the given names that can be moved and differentiated, in the order of the names.

    Raises:
        UserError: The model lacks one of them.
    """
    weights = weights_by_name(model, names)
    chosen = {id(weight.module) for weight in weights}
    with ExitStack() as stack:
        for module in model.modules():
            if is_quantised(module):
                stack.enter_context(_with_side(module, id(module) in chosen))
        yield [
            Weight(weight.module, SIDE) if is_quantised(weight.module) else weight
            for weight in weights
        ]


@contextmanager
def _with_side(layer: Any, wanted: bool) -> Iterator[None]:
    """Let tangents pass a quantised layer, and give it a matrix of zeros if wanted."""
    quantised = layer.forward
    if wanted:
        zeros = torch.zeros(layer.out_features, layer.in_features, device=layer.weight.device)
        layer.register_parameter(SIDE, nn.Parameter(zeros, requires_grad=False))

    def forward(inputs: Tensor) -> Tensor:
        outputs = _through(quantised, layer.bias, inputs)
        if not wanted:
            return outputs
        side = functional.linear(inputs.float(), getattr(layer, SIDE))
        return outputs + side.to(outputs.dtype)

    try:
        with replaced_forward(layer, forward):
            yield
    finally:
        if wanted:
            del layer._parameters[SIDE]


def _through(layer: Callable[[Tensor], Tensor], bias: Tensor | None, inputs: Tensor) -> Tensor:
    """A linear layer whose kernel has no forward derivative, applied to a dual number."""
    primal, tangent = forward_ad.unpack_dual(inputs)  # type: ignore[no-untyped-call]
    if tangent is None:
        return layer(inputs)
    moved = layer(tangent)
    moved = moved if bias is None else moved - bias
    dual: Tensor = forward_ad.make_dual(layer(primal), moved)  # type: ignore[no-untyped-call]
    return dual


@contextmanager
def replaced_weights(weights: Sequence[Weight], tensors: Iterable[Tensor]) -> Iterator[None]:
    """Let modules use other tensors for their weights, and put the parameters back afterwards."""
    originals = [weight.tensor for weight in weights]
    try:
        for weight, tensor in zip(weights, tensors, strict=True):
            weight.module._parameters[weight.attribute] = tensor
        yield
    finally:
        for weight, original in zip(weights, originals, strict=True):
            weight.module._parameters[weight.attribute] = original


@contextmanager
def replaced_forward(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Let a module compute something else, and put its own way back afterwards."""
    own = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


@contextmanager
def differentiable_weights(
    model: PreTrainedModel, names: Iterable[str]
) -> Iterator[list[nn.Parameter]]:
    """The open weights of the given names, with gradients flowing to them alone."""
    with open_weights(model, names) as opened:
        weights = [weight.tensor for weight in opened]
        with trainable_only(model, weights):
            yield weights


@contextmanager
def trainable_only(model: PreTrainedModel, weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let gradients flow to the given weights alone, and put the flags back afterwards."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    wanted = {id(weight) for weight in weights}
    try:
        for parameter, flag in flags:
            # Packed integers take no gradient and refuse to be asked.
            if flag or id(parameter) in wanted:
                parameter.requires_grad_(id(parameter) in wanted)
        yield
    finally:
        for parameter, flag in flags:
            if parameter.requires_grad != flag:
                parameter.requires_grad_(flag)
