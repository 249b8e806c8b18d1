"""The direction as LoRA adapters, for engines that serve adapters and give prompt likelihoods.

With the model at theta_0 + e g/|g| as one adapter and at theta_0 - e g/|g| as another, the
difference of a row's two losses over 2 e is minus its FIHS: scoring needs nothing else.
"""

from __future__ import annotations

from pathlib import Path

import torch

from gradshield.errors import UserError
from gradshield.models.low_rank import LowRankChange, cut_to_rank, save_as_adapter
from gradshield.probes.direction import Direction

ABOVE, BELOW = "above", "below"
"""Names of the two adapter folders."""


def export_direction(
    direction: Direction, folder: Path, *, rank: int, step: float, base_model: str
) -> float:
    """Write two PEFT adapters, `above` and `below`, in float32.

    Args:
        direction: g; each matrix is cut to its leading directions.
        folder: Where the two adapter folders go.
        rank: Directions that each matrix keeps.
        step: Length e of the step in parameter space.
        base_model: Name of the model that the adapters belong to.

    Returns:
        Share of the energy of g, its squared length, that the cut keeps.

    Raises:
        UserError: The direction moves stacks of experts' matrices, which LoRA has no form for.
    """
    stacks = [name for name, tensor in direction.tensors.items() if tensor.ndim != 2]
    if stacks:
        raise UserError(
            f"The direction moves {stacks[0]}, a stack of experts' matrices, which a LoRA adapter "
            "cannot hold: make a run with --modules that leaves experts out, such as 'attn'."
        )
    transposed = direction.record.get("layout") == "in, out"
    unit = {
        name: (tensor.T if transposed else tensor) / direction.norm
        for name, tensor in direction.tensors.items()
    }
    cut = cut_to_rank(unit, rank)
    for name, sign in ((ABOVE, 1), (BELOW, -1)):
        moved = {layer: (a, sign * step * b) for layer, (a, b) in cut.factors.items()}
        # In float16 numbers of this size would be lost.
        save_as_adapter(
            LowRankChange(moved, cut.energy_kept), folder / name, base_model, torch.float32
        )
    return cut.energy_kept
