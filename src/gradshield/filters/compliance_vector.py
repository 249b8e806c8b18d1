"""DataShield: how far a row's answer moves the states towards compliance.

Zhang et al. 2026, "DataShield: Safety-degrading Data Filtering for LLM Benign Instruction
Fine-Tuning" (arXiv 2606.00160). The compliance vector is the mean state of answers that accept a
harmful request less that of answers that refuse it. A row scores by what its answer adds, along
that vector, to the state in which the prompt leaves the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradshield.filters.base import Material, Need, Row, Scores, top_share
from gradshield.filters.references import paired_references
from gradshield.models.hidden_states import (
    layer_count,
    mean_response,
    pooled_states,
    response_shift,
)
from gradshield.threshold.rule import FloatArray

PAIRS = 100
"""Harmful prompts, each answered and refused, as in the released data."""
REMOVED_SHARE = 0.2


@dataclass(frozen=True)
class ComplianceVector:
    """Rows whose answer complies more than the prompt led to expect count as harmful.

    Attributes:
        layer: A place in `hidden_states`; None takes the one with the highest `between_share`.
    """

    layer: int | None = None
    name: str = "compliance_vector"
    needs: frozenset[Need] = frozenset({Need.HARMFUL_ANSWERS, Need.REFUSALS})
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """(mean response state - last prompt state) . unit compliance vector; see `Filter`.

        The response is all tokens that carry loss, ends of turns included; the last prompt token
        is the one before the first of them. The highest fifth is removed: the paper removes 1000
        rows, whatever the size of the data set.
        """
        model = material.loaded.model
        layers = [*range(1, layer_count(model) + 1)] if self.layer is None else [self.layer]
        compliant, refused = (
            pooled_states(model, examples, layers, mean_response)
            for examples in paired_references(material, self.name, PAIRS)
        )
        chosen, vector = best_layer(compliant, refused)
        with material.progress.track("Response states", len(rows), "rows") as advance:
            examples = [row.example for row in rows]
            shifts = pooled_states(model, examples, [layers[chosen]], response_shift, advance)
        values = shifts[:, 0].astype(np.float64) @ vector
        return Scores(values, top_share(REMOVED_SHARE))


def best_layer(
    compliant: NDArray[np.float32], refused: NDArray[np.float32]
) -> tuple[int, FloatArray]:
    """The layer that tells compliance from refusal best, and its unit compliance vector.

    Args:
        compliant: States of accepting answers, [answers, layers, hidden].
        refused: States of refusing ones, likewise.

    Returns:
        Its place among the layers, the first of equal ones; and the vector [hidden].
    """
    vectors = [
        unit_difference(compliant[:, place], refused[:, place])
        for place in range(compliant.shape[1])
    ]
    shares = [
        between_share(compliant[:, place], refused[:, place], vector)
        for place, vector in enumerate(vectors)
    ]
    best = int(np.argmax(shares))
    return best, vectors[best]


def unit_difference(compliant: NDArray[np.float32], refused: NDArray[np.float32]) -> FloatArray:
    """Mean of the ones minus mean of the others, [answers, hidden] each, at unit length.

    Zeros where they are the same.
    """
    means = (states.mean(axis=0, dtype=np.float64) for states in (compliant, refused))
    difference: FloatArray = np.subtract(*means)
    length = np.linalg.norm(difference)
    return difference / length if length else difference


def between_share(
    compliant: NDArray[np.float32], refused: NDArray[np.float32], vector: FloatArray
) -> float:
    """The compliance-aware score: between-class by total scatter along a vector, in [0, 1].

    As in the released code, each coordinate is first divided by its standard deviation over all
    answers. That code takes the scatter of last tokens; here it is that of the mean response
    states, which the vector itself is made of.
    """
    states = np.concatenate([compliant, refused]).astype(np.float64)
    spread = states.std(axis=0)
    values = (states - states.mean(axis=0)) / np.where(spread > 0, spread, 1.0) @ vector
    parts = values[: len(compliant)], values[len(compliant) :]
    # Centred, so the overall mean is zero.
    between = sum(len(part) * part.mean() ** 2 for part in parts)
    total = float(values @ values)
    return float(between) / total if total else 0.0
