"""The direction as LoRA adapters, for engines that serve adapters and give prompt likelihoods.

With the model at theta_0 + e g/|g| as one adapter and at theta_0 - e g/|g| as another, the
difference of a row's two losses over 2 e is minus its FIHS: scoring needs nothing else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from gradshield.errors import UserError
from gradshield.files import write_text, written_whole
from gradshield.models.low_rank import LowRankChange, cut_to_rank, save_as_adapter
from gradshield.probes.direction import Direction

ABOVE, BELOW = "above", "below"
"""Names of the two adapter folders."""
RECORD = "export.json"
"""File beside them that tells what they are."""


@dataclass(frozen=True)
class ExportRecord:
    """What two exported adapters are.

    Attributes:
        base_model: Name of the model that they belong to.
        direction_sha256: Of the direction that they were cut from, see `direction_sha256`.
        rank: Directions that each matrix kept.
        step: Length of the step in parameter space.
        energy_kept: Share of the energy of the direction that the cut kept.
    """

    base_model: str
    direction_sha256: str
    rank: int
    step: float
    energy_kept: float


def export_direction(
    direction: Direction, folder: Path, *, rank: int, step: float, base_model: str
) -> float:
    """Write two PEFT adapters, `above` and `below`, in float32, and what they are.

    Args:
        direction: g; each matrix is cut to its leading directions.
        folder: Where the two adapter folders go; it is written whole.
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
    record = ExportRecord(base_model, direction_sha256(direction), rank, step, cut.energy_kept)
    with written_whole(folder) as draft:
        draft.mkdir()
        for name, sign in ((ABOVE, 1), (BELOW, -1)):
            moved = {layer: (a, sign * step * b) for layer, (a, b) in cut.factors.items()}
            # In float16 numbers of this size would be lost.
            save_as_adapter(
                LowRankChange(moved, cut.energy_kept), draft / name, base_model, torch.float32
            )
        write_text(draft / RECORD, json.dumps(asdict(record), indent=2) + "\n")
    return cut.energy_kept


def read_export(folder: Path) -> ExportRecord:
    """What the adapters in a folder are.

    Raises:
        UserError: They were not written by `export_direction`.
    """
    try:
        return ExportRecord(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as fault:
        raise UserError(
            f"{folder} holds no adapters of a direction (no readable {RECORD}): name the folder "
            "that `gradshield direction export` wrote."
        ) from fault


def direction_sha256(direction: Direction) -> str:
    """SHA-256, in hexadecimal, of the numbers of a direction, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(direction.tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
