"""The direction g = grad S at theta_0: how the unsafety proxy changes with each weight."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError, first_line
from gradshield.files import written_whole
from gradshield.memory_faults import fits_into_memory
from gradshield.models.layers import block_weights
from gradshield.models.likelihood import response_token_losses
from gradshield.models.open_weights import differentiable_weights
from gradshield.probes.proxies import SafetyProxy

PROBE_BATCH = 12
Item = TypeVar("Item")
_MEMORY_MEND = (
    "use --modules for fewer layers, such as 'layers.2[0-9].mlp', a smaller model, or a device "
    "with more"
)


@dataclass(frozen=True)
class Direction:
    """A gradient of the unsafety proxy S, by parameter; higher S means less safe.

    Attributes:
        tensors: By the names of `block_weights`, the gradient with the shape of the weight,
            float32, CPU.
        record: What made it (proxy, probes, patterns, value of S), JSON-serialisable.
    """

    tensors: dict[str, Tensor]
    record: dict[str, Any]

    @cached_property
    def norm(self) -> float:
        """Euclidean length |g| over all layers."""
        squares = (float(tensor.double().square().sum()) for tensor in self.tensors.values())
        return math.sqrt(sum(squares))

    def to(self, device: torch.device) -> Direction:
        """The same direction on a device; where it is there already, nothing is copied."""
        tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return replace(self, tensors=tensors)


def proxy_gradient(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    proxy: SafetyProxy,
    prompts: Sequence[str],
    *,
    modules: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Direction:
    """Differentiate S, the mean of the proxy over the prompts, by the block linear layers.

    Args:
        model: The aligned model theta_0.
        tokenizer: Its tokenizer.
        proxy: The safety proxy, calibrated.
        prompts: Probe prompts.
        modules: Which layers, see `block_weights`.
        progress: Called after each batch with the number of prompts in it.

    Raises:
        UserError: The gradient is zero or not finite, or does not fit into memory.
    """

    def values(batch: Sequence[str], first: int) -> Tensor:
        return proxy.values(model, tokenizer, batch, first)

    names = list(block_weights(model, modules))
    tensors, value = _mean_gradient(model, prompts, values, names, progress)
    record = {
        "proxy": proxy.name,
        "modules": modules,
        "probes": len(prompts),
        "value": value,
        "layout": _layout(model, modules),
    }
    return _checked(Direction(tensors, record))


def training_direction(
    model: PreTrainedModel,
    examples: Sequence[TokenizedExample],
    *,
    modules: str | None = None,
    names: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Where training on the examples moves the weights: minus the gradient of their mean loss.

    Args:
        model: The aligned model theta_0.
        examples: Rows that count alike, each with the mean over its response tokens.
        modules: Which layers, see `block_weights`.
        names: Those of some layers, in place of `modules`.
        progress: Called after each batch with the number of examples in it.
    """

    def gains(batch: Sequence[TokenizedExample], first: int) -> Tensor:
        return torch.stack([-losses.mean() for losses in response_token_losses(model, batch)])

    chosen = list(block_weights(model, modules)) if names is None else names
    return _mean_gradient(model, examples, gains, chosen, progress)[0]


def _mean_gradient(
    model: PreTrainedModel,
    items: Sequence[Item],
    values: Callable[[Sequence[Item], int], Tensor],
    names: Sequence[str],
    progress: Callable[[int], None] | None,
) -> tuple[dict[str, Tensor], float]:
    """Gradient, by layer name, of the mean of values over the items; and that mean.

    `values` takes a batch and the position of its first item.
    """
    mean = 0.0
    with (
        fits_into_memory("The gradient of the model", model.device, _MEMORY_MEND),
        differentiable_weights(model, names) as weights,
    ):
        sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        for start in range(0, len(items), PROBE_BATCH):
            batch = items[start : start + PROBE_BATCH]
            share = values(batch, start).sum() / len(items)
            # A layer that the model does not run (a part for images, say) leaves zeros.
            if share.requires_grad:
                gradients = torch.autograd.grad(share, weights, materialize_grads=True)
                for total, gradient in zip(sums, gradients, strict=True):
                    total.add_(gradient)
            mean += float(share.detach())
            if progress is not None:
                progress(len(batch))
    return {name: total.cpu() for name, total in zip(names, sums, strict=True)}, mean


def _layout(model: PreTrainedModel, modules: str | None) -> str:
    """How the matrices are kept, for those who have the direction and not the model."""
    weights = block_weights(model, modules).values()
    return "in, out" if any(isinstance(weight.module, Conv1D) for weight in weights) else "out, in"


def _checked(direction: Direction) -> Direction:
    if not math.isfinite(direction.norm) or direction.norm == 0.0:
        raise UserError(
            f"The gradient of the proxy {direction.record.get('proxy')} has length "
            f"{direction.norm}: the model's precision overflows, the proxy does not depend on "
            "these modules, or gradients are switched off (torch.no_grad, torch.inference_mode). "
            "Use --dtype float32 and check --modules."
        )
    return direction


def without_span(direction: Direction, others: Sequence[Mapping[str, Tensor]]) -> Direction:
    """Take out, layer by layer, whatever the others span: what is left is orthogonal to them all.

    With `others` where training on harmless rows of several kinds moves the weights, what is left
    has no first-order effect of such training in it, in any layer.

    Returns:
        See `what_is_left`.

    Raises:
        UserError: Nothing is left.
    """
    tensors = {
        name: orthogonal_part(tensor, [other[name] for other in others])
        for name, tensor in direction.tensors.items()
    }
    return what_is_left(direction, tensors)


def what_is_left(direction: Direction, tensors: dict[str, Tensor]) -> Direction:
    """The direction of which these tensors are left, with the share of its energy in the record.

    Energy is squared length.

    Raises:
        UserError: Nothing is left.
    """
    left = Direction(tensors, direction.record)
    return _checked(with_record(left, energy_left=(left.norm / direction.norm) ** 2))


def orthogonal_part(tensor: Tensor, others: Sequence[Tensor]) -> Tensor:
    """The part of a tensor that is orthogonal to all others of its shape, as flat vectors."""
    span = torch.stack([other.flatten() for other in others])
    # Lengths differ by orders of magnitude; as unit rows the small ones are not rounded away.
    lengths = span.norm(dim=1, keepdim=True)
    span /= torch.where(lengths > 0, lengths, 1.0)
    products = (span @ tensor.flatten()).double()
    weights = torch.linalg.pinv((span @ span.T).double(), rtol=1e-6, hermitian=True) @ products
    shared: Tensor = (weights.float() @ span).view_as(tensor)
    return tensor - shared


def joined(directions: Sequence[Direction]) -> Direction:
    """The sum of directions, each made a unit long; a single one is left as it is.

    The record is the first one's, with the names of all proxies and all values of S.
    """
    if len(directions) == 1:
        return directions[0]
    tensors = {
        name: torch.stack([one.tensors[name] / one.norm for one in directions]).sum(dim=0)
        for name in directions[0].tensors
    }
    records = [one.record for one in directions]
    return with_record(
        _checked(Direction(tensors, records[0])),
        proxy="+".join(record["proxy"] for record in records),
        values=[record["value"] for record in records],
    )


def normalised_by_module(direction: Direction) -> Direction:
    """Make the direction a unit long in every weight that it moves: each then counts alike."""
    tensors = {
        name: tensor / tensor.norm() if tensor.any() else tensor
        for name, tensor in direction.tensors.items()
    }
    return Direction(tensors, direction.record)


def save_direction(direction: Direction, path: Path, *, once: bool = False) -> None:
    """Write a direction as safetensors, its record as metadata; see `written_whole`."""
    metadata = {"record": json.dumps(direction.record, sort_keys=True)}
    with written_whole(path, once=once) as draft:
        save_file(direction.tensors, draft, metadata=metadata)


def load_direction(path: Path) -> Direction:
    """Read a direction written by `save_direction`.

    Raises:
        UserError: The file is damaged, or holds another thing.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            record = json.loads(stream.metadata()["record"])
            # The file keeps names in its own order; any order serves as long as it stays the same.
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise UserError(
            f"{path} holds no direction ({first_line(fault)}): delete it, and it is made again."
        ) from fault
    return _checked(Direction(tensors, record))


def with_record(direction: Direction, **entries: Any) -> Direction:
    """The same direction with more entries in its record."""
    return replace(direction, record={**direction.record, **entries})
