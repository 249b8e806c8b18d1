"""Which weights of a model count: by default all linear layers of its blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from gradshield.errors import UserError

LATE_MLP = "late_mlp"
"""Name of the default choice of modules: linear layers outside attention, last half of the blocks.

They tell harmful from harmless rows best (docs/decisions/0004)."""


def block_linear_layers(model: PreTrainedModel, modules: str | None = None) -> dict[str, Any]:
    """Name the linear layers inside the transformer blocks.

    The embedding, the LM head and the norms stay out: leaving them out raised the separation of
    harmful from harmless examples (design, section 2).

    Args:
        model: Any causal language model of transformers.
        modules: `late_mlp`, a regular expression that a layer's dotted name must contain, or None
            for all.

    Returns:
        Layer by dotted name, in the order of the model. `nn.Linear` keeps its weight as
        [out, in], `Conv1D` (GPT-2) as [in, out].

    Raises:
        UserError: No layer is left, or the pattern is no regular expression.
    """
    pattern = None if modules == LATE_MLP else modules
    _check_pattern(pattern)
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    outside = {id(model.get_input_embeddings()), id(head)}
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and id(module) not in outside
        and (pattern is None or re.search(pattern, name))
    }
    if modules == LATE_MLP:
        layers = _late_mlp(layers)
    if not layers:
        raise UserError(
            f"No linear layer of {type(model).__name__} matches the modules {modules!r}: "
            "give a regular expression over dotted module names, such as 'mlp' or 'layers.1[0-9]'."
        )
    return layers


def _late_mlp(layers: dict[str, Any]) -> dict[str, Any]:
    blocks = {name: block_number(name) for name in layers}
    half = (max(blocks.values(), default=0) + 1) / 2
    return {
        name: layer
        for name, layer in layers.items()
        if blocks[name] >= half and not re.search("attn|attention", name)
    }


def block_number(name: str) -> int:
    """Number of the block that a dotted name lies in; the first number in it."""
    return int(next((part for part in name.split(".") if part.isdigit()), 0))


def _check_pattern(pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as fault:
        raise UserError(
            f"The modules pattern {pattern!r} is no regular expression ({fault}): give one over "
            "dotted module names, such as 'mlp' or 'layers.1[0-9]'."
        ) from fault


def layers_by_name(model: PreTrainedModel, names: Iterable[str]) -> list[Any]:
    """The modules of the given dotted names, in their order; an unknown name is a `UserError`."""
    modules = dict(model.named_modules())
    missing = [name for name in names if name not in modules]
    if missing:
        raise UserError(
            f"The direction holds the layer {missing[0]}, which {type(model).__name__} lacks: it "
            "was made for another model. Delete direction.safetensors in the run folder."
        )
    return [modules[name] for name in names]


@contextmanager
def trainable_only(model: PreTrainedModel, weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let gradients flow to the given weights alone, and put the flags back afterwards."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    wanted = {id(weight) for weight in weights}
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in wanted)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
