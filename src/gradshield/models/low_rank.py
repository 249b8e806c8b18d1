"""Low-rank forms of a change of weights, by singular value decomposition, and LoRA adapters of it.

The change of each weight matrix is cut to its leading singular directions: as many for each, or as
many as an adapter of a given size can hold. In the second case it is decided over all matrices
together: the directions that carry most energy per stored number come first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradshield.files import written_whole

SPARE_DIRECTIONS = 8
ITERATIONS = 4
"""Directions and rounds beyond the bare need, with which the leading ones are exact."""


@dataclass(frozen=True)
class LowRankChange:
    """A low-rank form of the change of several weight matrices.

    Attributes:
        factors: By layer name, (A [rank, in], B [out, rank]); the change is B @ A.
        energy_kept: Share of the squared Frobenius norm of the whole change, in [0, 1].
    """

    factors: dict[str, tuple[Tensor, Tensor]]
    energy_kept: float


def compress_change(change: Mapping[str, Tensor], max_parameters: int) -> LowRankChange:
    """Find the low-rank change that keeps most energy within a number of parameters.

    Args:
        change: By layer name, the change of its weight [out, in].
        max_parameters: Numbers that the factors may hold together.

    Raises:
        ValueError: Nothing changed, or the limit leaves no room for a single direction.
    """
    parts = {
        name: torch.linalg.svd(delta.float(), full_matrices=False) for name, delta in change.items()
    }
    candidates = sorted(
        (
            (float(value) ** 2 / sum(change[name].shape), name)
            for name, (_, values, _) in parts.items()
            for value in values
        ),
        reverse=True,
    )
    total = sum(float(values.square().sum()) for _, values, _ in parts.values())
    ranks: dict[str, int] = {}
    room = max_parameters
    for _, name in candidates:
        room -= sum(change[name].shape)
        if room < 0:
            break
        ranks[name] = ranks.get(name, 0) + 1
    if not ranks or total == 0.0:
        raise ValueError("There is no change to compress, or no room for one direction of it.")
    factors = {}
    kept = 0.0
    for name, rank in ranks.items():
        left, values, right = parts[name]
        root = values[:rank].sqrt()
        factors[name] = (root[:, None] * right[:rank], left[:, :rank] * root)
        kept += float(values[:rank].square().sum())
    return LowRankChange(factors, kept / total)


def cut_to_rank(change: Mapping[str, Tensor], rank: int) -> LowRankChange:
    """Cut each matrix to its leading singular directions.

    Args:
        change: By layer name, a matrix [out, in].
        rank: Directions that each matrix keeps, if it has so many.

    Raises:
        ValueError: The change is zero.
    """
    total = sum(float(delta.double().square().sum()) for delta in change.values())
    if total == 0.0:
        raise ValueError("There is no change to cut.")
    factors = {}
    kept = 0.0
    # The decomposition is a randomised one: whole ones of large matrices take minutes.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, delta in change.items():
            most = min(delta.shape)
            spare = min(rank + SPARE_DIRECTIONS, most)
            left, values, right = torch.svd_lowrank(delta.float(), q=spare, niter=ITERATIONS)
            root = values[:rank].sqrt()
            factors[name] = (root[:, None] * right[:, :rank].T, left[:, :rank] * root)
            kept += float(values[:rank].double().square().sum())
    return LowRankChange(factors, kept / total)


def save_as_adapter(
    low_rank: LowRankChange,
    folder: Path,
    base_model: str,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write the change as a PEFT LoRA adapter, ready for `--adapter`.

    Each layer's alpha equals its rank, so that PEFT's scaling alpha / rank is one.
    """
    from peft import LoraConfig
    from safetensors.torch import save_file

    ranks: dict[str, Any] = {name: a.shape[0] for name, (a, _) in low_rank.factors.items()}
    highest = max(ranks.values())
    config = LoraConfig(
        r=highest,
        lora_alpha=highest,
        target_modules=sorted(ranks),
        rank_pattern=ranks,
        alpha_pattern=ranks,
        task_type="CAUSAL_LM",
        base_model_name_or_path=base_model,
        inference_mode=True,
    )
    tensors: dict[str, Tensor] = {}
    for name, (a, b) in low_rank.factors.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = a.to(dtype).contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = b.to(dtype).contiguous()
    with written_whole(folder) as draft:
        draft.mkdir()
        save_file(tensors, draft / "adapter_model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(str(draft))
