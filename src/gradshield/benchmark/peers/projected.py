"""Scores from randomly projected gradients, in the manner of LESS (Xia et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.probes.direction import Direction
from gradshield.scoring.engines.per_example import example_gradient

# LESS takes 8192. On a CPU one core draws some 4e7 random signs a second and a sign is kept as a
# float32: for 4e7 weights a dimension costs a second and 160 MB, and 8192 of them over two hours
# and 1.3 TB; in blocks that fit, the two hours would be due again at each projection. 16 fit into
# memory at once (2.5 GB for 4e7 weights), so they are drawn only once.
DIMENSION = 16
"""Numbers that stand for a gradient."""

Project = Callable[[Tensor], Tensor]
"""From [1, weights] to [1, dimension], such that inner products stay the same on average."""


def projected_scores(
    project: Project,
    model: PreTrainedModel,
    direction: Direction,
    examples: Sequence[TokenizedExample],
) -> list[float]:
    """Project the direction once and the gradient of each example by itself, and multiply."""
    target = project(_row(direction.tensors.values(), model.device))

    def score(example: TokenizedExample) -> float:
        gradients, _ = example_gradient(model, direction.tensors, example, "sum")
        projected = project(_row(gradients, model.device))
        return -float((projected * target).sum()) / direction.norm

    return [score(example) for example in examples]


def weight_count(direction: Direction) -> int:
    """Number of weights that a direction moves."""
    return sum(tensor.numel() for tensor in direction.tensors.values())


def _row(tensors: Iterable[Tensor], device: torch.device) -> Tensor:
    """All numbers of the tensors as float32 [1, numbers]."""
    return torch.cat([tensor.flatten().float().to(device) for tensor in tensors]).unsqueeze(0)
