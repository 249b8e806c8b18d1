"""Moderate gradients: rows whose gradient is neither long nor short for this data set are kept.

Long gradients are those that pull an aligned model back most (Bach et al. 2026, "Continual Safety
Alignment via Gradient-Based Sample Selection", arXiv 2604.17215; called Moderate-G).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from gradshield.filters.base import Material, Need, Row, Scores, top_share
from gradshield.models.layers import block_weights
from gradshield.scoring.engines.per_example import example_gradient, inner_product
from gradshield.threshold.rule import FloatArray

REMOVED_SHARE = 0.8
"""The paper keeps the fifth of the rows that is nearest the median."""


@dataclass(frozen=True)
class ModerateGradient:
    """What is far from the median gradient norm counts as harmful, on either side.

    Both sides are the paper's. Short answers have long gradients, and rows that the model would
    write itself short ones, so this may well be a filter of lengths and formats.
    """

    name: str = "moderate_gradient"
    needs: frozenset[Need] = frozenset()
    by_row: bool = False

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Distance of the gradient norm from the median of all rows; see `Filter`.

        The method's own line is its published share: four fifths are removed. The paper is said to
        choose within the batches of a training; here it is once, at the aligned model. Whether it
        takes the mean or the sum of a row's token losses was not found: the mean, as trainers
        of its time did.
        """
        norms = gradient_norms(rows, material)
        values = np.abs(norms - np.median(norms))
        return Scores(values, top_share(REMOVED_SHARE))


def gradient_norms(rows: Sequence[Row], material: Material) -> FloatArray:
    """Length of the gradient of every row's mean loss by all block weights, [rows].

    In nats per unit of parameter length. One gradient is held at a time.
    """
    model = material.loaded.model
    names = list(block_weights(model))
    values = np.empty(len(rows))
    with material.progress.track("Gradients", len(rows), "rows") as advance:
        for place, row in enumerate(rows):
            gradients, _ = example_gradient(model, names, row.example, "mean")
            values[place] = length(gradients)
            advance(1)
    return values


def length(tensors: Iterable[Tensor]) -> float:
    """Euclidean length of all numbers of the tensors together."""
    tensors = list(tensors)
    return math.sqrt(float(inner_product(tensors, tensors)))
