"""Random projection of long vectors by random signs that are never all in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MOST_SIGNS = 2**24
"""Signs that are drawn at a time: 64 MiB in float32."""


@dataclass(frozen=True)
class RademacherProjection:
    """Multiplies by signs / sqrt(dimensions), so that inner products stay the same on average.

    The relative error of a length, and the absolute one of a cosine near zero, is about
    1 / sqrt(dimensions) (Johnson and Lindenstrauss). Signs are drawn anew for each vector: time
    goes with its length times the dimensions, about four seconds on one core for each 1e9 signs.

    Attributes:
        dimensions: Numbers that stand for a vector.
        seed: Of the signs, which are the same on all devices.
    """

    dimensions: int
    seed: int = 0

    def __call__(self, vector: Tensor) -> Tensor:
        """Project [numbers] to [dimensions], in float32."""
        total = torch.zeros(self.dimensions, device=vector.device)
        generator = np.random.default_rng(self.seed)
        for part in torch.split(vector.float(), max(1, MOST_SIGNS // self.dimensions)):
            total += part @ self._signs(generator, len(part)).to(part.device)
        return total / math.sqrt(self.dimensions)

    def _signs(self, generator: np.random.Generator, numbers: int) -> Tensor:
        """Of the next numbers of a vector, [numbers, dimensions]."""
        count = numbers * self.dimensions
        drawn = np.frombuffer(generator.bytes(math.ceil(count / 8)), dtype=np.uint8)
        bits = torch.from_numpy(np.unpackbits(drawn, count=count))
        return bits.float().mul_(2.0).sub_(1.0).view(numbers, self.dimensions)
