"""Compress a full finetune into a LoRA adapter by singular value decomposition.

The change of each weight matrix is cut to its leading singular directions. How many each matrix
keeps is decided over all matrices together: the directions that carry most energy per stored
number come first, until the adapter is as large as allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradshield.files import written_whole


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


def save_as_adapter(low_rank: LowRankChange, folder: Path, base_model: str) -> None:
    """Write the change as a PEFT LoRA adapter in float16, ready for `--adapter`.

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
        tensors[f"base_model.model.{name}.lora_A.weight"] = a.to(torch.float16).contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = b.to(torch.float16).contiguous()
    with written_whole(folder) as draft:
        draft.mkdir()
        save_file(tensors, draft / "adapter_model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(str(draft))
