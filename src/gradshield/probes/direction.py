"""The direction g = grad S at theta_0: how the unsafety proxy changes with each weight."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.errors import UserError
from gradshield.files import written_whole
from gradshield.models.layers import block_linear_layers, trainable_only
from gradshield.probes.proxies import SafetyProxy

PROBE_BATCH = 8


@dataclass(frozen=True)
class Direction:
    """A gradient of the unsafety proxy S, by parameter; higher S means less safe.

    Attributes:
        tensors: By layer name, the gradient with the shape of the layer's weight, float32, CPU.
        record: What made it (proxy, probes, patterns, value of S), JSON-serialisable.
    """

    tensors: dict[str, Tensor]
    record: dict[str, Any]

    @cached_property
    def norm(self) -> float:
        """Euclidean length |g| over all layers."""
        squares = (float(tensor.double().square().sum()) for tensor in self.tensors.values())
        return math.sqrt(sum(squares))


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
        modules: Regular expression over layer names; None takes all block linear layers.
        progress: Called after each batch with the number of prompts in it.

    Raises:
        UserError: The gradient is zero or not finite.
    """
    layers = block_linear_layers(model, modules)
    weights = [layer.weight for layer in layers.values()]
    sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    value = 0.0
    with trainable_only(model, weights):
        for start in range(0, len(prompts), PROBE_BATCH):
            batch = prompts[start : start + PROBE_BATCH]
            share = proxy.values(model, tokenizer, batch).sum() / len(prompts)
            # A layer that the model does not run (a part for images, say) leaves zeros.
            if share.requires_grad:
                gradients = torch.autograd.grad(share, weights, materialize_grads=True)
                for total, gradient in zip(sums, gradients, strict=True):
                    total.add_(gradient)
            value += float(share.detach())
            if progress is not None:
                progress(len(batch))
    tensors = {name: total.cpu() for name, total in zip(layers, sums, strict=True)}
    record = {"proxy": proxy.name, "modules": modules, "probes": len(prompts), "value": value}
    direction = Direction(tensors, record)
    if not math.isfinite(direction.norm) or direction.norm == 0.0:
        raise UserError(
            f"The gradient of the proxy {proxy.name} has length {direction.norm}: the model's "
            "precision overflows or the proxy does not depend on these modules. Use "
            "--dtype float32 and check --modules."
        )
    return direction


def without_component(direction: Direction, other: Direction) -> Direction:
    """Take the component along `other` out: what is left is orthogonal to it.

    With `other` the gradient of the same proxy on ordinary prompts, what is left raises
    compliance on harmful prompts and not compliance as such.
    """
    product = _dot(direction, other)
    scale = product / other.norm**2
    tensors = {
        name: tensor - scale * other.tensors[name] for name, tensor in direction.tensors.items()
    }
    cosine = product / (direction.norm * other.norm)
    record = {**direction.record, "benign_removed": True, "benign_cosine": cosine}
    return Direction(tensors, record)


def _dot(one: Direction, other: Direction) -> float:
    return sum(
        float((tensor.double() * other.tensors[name].double()).sum())
        for name, tensor in one.tensors.items()
    )


def save_direction(direction: Direction, path: Path) -> None:
    """Write a direction as safetensors, its record as metadata."""
    metadata = {"record": json.dumps(direction.record, sort_keys=True)}
    with written_whole(path) as draft:
        save_file(direction.tensors, draft, metadata=metadata)


def load_direction(path: Path) -> Direction:
    """Read a direction written by `save_direction`."""
    with safe_open(path, framework="pt") as stream:
        record = json.loads(stream.metadata()["record"])
        # The file keeps names in its own order; any order serves as long as it stays the same.
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    return Direction(tensors, record)


def with_record(direction: Direction, **entries: Any) -> Direction:
    """The same direction with more entries in its record."""
    return replace(direction, record={**direction.record, **entries})
