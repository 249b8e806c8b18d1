"""Random projection of per-example gradients by traker."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from gradshield.benchmark.peers.projected import DIMENSION, projected_scores, weight_count
from gradshield.data.tokenization import TokenizedExample
from gradshield.probes.direction import Direction


@dataclass(frozen=True)
class TrakerProjection:
    """`BasicProjector`, the one of traker's projectors that needs no GPU.

    Attributes:
        dimension: Numbers that stand for a gradient.
        seed: Of the random signs.
    """

    dimension: int = DIMENSION
    seed: int = 0
    name: str = "traker"
    package: str = "traker"
    computes: str = (
        f"One backward pass for each example; its gradient and the direction are projected by the "
        f"same random signs to {DIMENSION} dimensions and multiplied. The expectation is FIHS, but "
        f"so few dimensions are too noisy to rank by; with the 8192 of LESS it would take longer, "
        f"so the time is a lower bound."
    )
    comparable_values: bool = False

    def scores(
        self, model: PreTrainedModel, direction: Direction, examples: Sequence[TokenizedExample]
    ) -> list[float]:
        """Draw the signs, and project and multiply; see `Peer`."""
        library = importlib.import_module("trak.projectors")
        projector = library.BasicProjector(
            grad_dim=weight_count(direction),
            proj_dim=self.dimension,
            seed=self.seed,
            proj_type=library.ProjectionType.rademacher,
            device=model.device,
            # In one block the signs are kept; in several they would be drawn for every example.
            block_size=self.dimension,
        )

        def project(row: Tensor) -> Tensor:
            # Unlike others, traker leaves the length of what it projects multiplied by this root.
            projected: Tensor = projector.project(row, model_id=0) / math.sqrt(self.dimension)
            return projected

        return projected_scores(project, model, direction, examples)
