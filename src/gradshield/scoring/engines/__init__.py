"""Scoring engines by name."""

import torch

from gradshield.scoring.engines.base import Engine, ExampleScore
from gradshield.scoring.engines.finite_difference import FiniteDifference
from gradshield.scoring.engines.per_example import PerExample

ENGINES: dict[str, Engine] = {
    "finite_difference": FiniteDifference(),
    "per_example": PerExample(),
}


def default_engine(dtype: torch.dtype) -> str:
    """Finite differences in float32; in half precision their step would round away."""
    return "finite_difference" if dtype == torch.float32 else "per_example"


__all__ = ["ENGINES", "Engine", "ExampleScore", "default_engine"]
