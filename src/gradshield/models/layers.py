"""Which weights of a model count: by default all matrices of its blocks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from gradshield.errors import UserError

LATE_MLP = "late_mlp"
"""Name of the default choice of modules: matrices outside attention, last half of the blocks.

They tell harmful from harmless rows best (docs/decisions/0004)."""


BIASES = {"alibi", "position_bias"}
"""What models without position embeddings give to their blocks."""


@dataclass(frozen=True)
class Weight:
    """A weight matrix of a linear layer, or a stack of them, one for each expert.

    Attributes:
        module: The module that owns and applies it.
        attribute: Its name there: `weight`, or that of the stack.
    """

    module: Any
    attribute: str = "weight"

    @property
    def tensor(self) -> nn.Parameter:
        """The parameter itself."""
        parameter: nn.Parameter = getattr(self.module, self.attribute)
        return parameter


def block_weights(model: PreTrainedModel, modules: str | None = None) -> dict[str, Weight]:
    """Name the weight matrices inside the transformer blocks.

    The embedding, the LM head and the norms stay out: leaving them out raised the separation of
    harmful from harmless examples (design, section 2).

    Args:
        model: Any causal language model of transformers.
        modules: `late_mlp`, a regular expression that a weight's dotted name must contain, or None
            for all.

    Returns:
        Weights in the order of the model: a linear layer's by the dotted name of the layer
        (`nn.Linear` keeps it as [out, in], `Conv1D` of GPT-2 as [in, out]), stacks of experts'
        matrices [experts, out, in] by that of the parameter.

    Raises:
        UserError: No weight is left, or the pattern is no regular expression.
    """
    pattern = None if modules == LATE_MLP else modules
    _check_pattern(pattern)
    weights = {
        name: weight
        for name, weight in _all_block_weights(model)
        if pattern is None or re.search(pattern, name)
    }
    if modules == LATE_MLP:
        weights = _late_mlp(weights)
    if not weights:
        raise UserError(
            f"No linear layer of {type(model).__name__} matches the modules {modules!r}: "
            "give a regular expression over dotted module names, such as 'mlp' or 'layers.1[0-9]'."
        )
    return weights


def block_linear_layers(model: PreTrainedModel, modules: str | None = None) -> dict[str, Any]:
    """Linear layers inside the transformer blocks by dotted name, see `block_weights`."""
    return {
        name: weight.module
        for name, weight in block_weights(model, modules).items()
        if isinstance(weight.module, nn.Linear | Conv1D)
    }


def _all_block_weights(model: PreTrainedModel) -> Iterator[tuple[str, Weight]]:
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    outside = {id(model.get_input_embeddings()), id(head)}
    for name, module in model.named_modules():
        if id(module) in outside or isinstance(module, _ConvNd):
            continue
        if isinstance(module, nn.Linear | Conv1D):
            yield name, Weight(module)
            continue
        for attribute, parameter in module.named_parameters(recurse=False):
            if parameter.ndim == 3:
                yield f"{name}.{attribute}", Weight(module, attribute)


def _late_mlp(weights: dict[str, Weight]) -> dict[str, Weight]:
    blocks = {name: block_number(name) for name in weights}
    half = (max(blocks.values(), default=0) + 1) / 2
    return {
        name: weight
        for name, weight in weights.items()
        if blocks[name] >= half and not re.search("attn|attention", name)
    }


def block_number(name: str) -> int:
    """Number of the block that a dotted name lies in; the first number in it."""
    return int(next((part for part in name.split(".") if part.isdigit()), 0))


def split_blocks(
    model: PreTrainedModel, names: Sequence[str]
) -> tuple[list[nn.Module], list[nn.Module]]:
    """The blocks below the first one that holds a named weight, and those from there on.

    Both are empty where that cannot be told, or where what a block is given depends on the batch
    in another way than by its first dimension.
    """
    paths = [name.split(".") for name in names]
    depths = [next((i for i, part in enumerate(path) if part.isdigit()), None) for path in paths]
    lists = {".".join(path[:depth]) for path, depth in zip(paths, depths, strict=True)}
    if None in depths or len(lists) != 1:
        return [], []
    blocks = list(model.get_submodule(lists.pop()).children())
    # Biases by position have heads, or heads and batch folded, for their first dimension.
    if BIASES & inspect.signature(type(blocks[0]).forward).parameters.keys():
        return [], []
    first = min(block_number(name) for name in names)
    return blocks[:first], blocks[first:]


def _check_pattern(pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as fault:
        raise UserError(
            f"The modules pattern {pattern!r} is no regular expression ({fault}): give one over "
            "dotted module names, such as 'mlp' or 'layers.1[0-9]'."
        ) from fault


def weights_by_name(model: PreTrainedModel, names: Iterable[str]) -> list[Weight]:
    """The weights of the given names, in their order; an unknown name is a `UserError`."""
    known = dict(_all_block_weights(model))
    missing = [name for name in names if name not in known]
    if missing:
        raise UserError(
            f"The direction holds the layer {missing[0]}, which {type(model).__name__} lacks: it "
            "was made for another model. Delete direction.safetensors in the run folder."
        )
    return [known[name] for name in names]
