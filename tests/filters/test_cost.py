from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from gradshield.filters.base import Material, Need, Row, Scores, fixed
from gradshield.filters.cost import Cost, counted_passes, score_with_cost
from gradshield.filters.mean_loss import MeanLoss
from gradshield.models.likelihood import response_token_losses
from gradshield.scoring.engines.per_example import example_gradient
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material


@dataclass(frozen=True)
class GradientOfEveryRow:
    """One forward and one backward a row, by definition."""

    name: str = "gradient"
    needs: frozenset[Need] = frozenset()
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        model = material.loaded.model
        for row in rows:
            example_gradient(model, ["model.layers.0.mlp.down_proj"], row.example, "sum")
        return Scores(np.zeros(len(rows)), fixed(1.0), trainings=2)


def test_a_gradient_is_one_forward_and_one_backward() -> None:
    material = tiny_material()
    _, cost = score_with_cost(GradientOfEveryRow(), as_rows(material.loaded, PAIRS), material)
    assert cost == Cost(1.0, 1.0, 2)


def test_inference_has_no_backward() -> None:
    material = tiny_material()
    _, cost = score_with_cost(MeanLoss(), as_rows(material.loaded, PAIRS[:1]), material)
    assert cost == Cost(1.0, 0.0, 0)


def test_padding_counts_and_nothing_is_counted_afterwards() -> None:
    material = tiny_material()
    examples = [row.example for row in as_rows(material.loaded, PAIRS[2:])]
    longest = max(len(example.input_ids) for example in examples)
    assert len({len(example.input_ids) for example in examples}) == 2
    with counted_passes(material.loaded.model) as passes:
        response_token_losses(material.loaded.model, examples)
    spent = passes.forward
    # The beginning that the two share is run once.
    assert longest < spent <= 2 * longest
    response_token_losses(material.loaded.model, examples)
    assert passes.forward == spent
    assert passes.backward == 0


@pytest.mark.parametrize("values", [np.zeros(3), np.array([0.0, 1.0, np.nan, 0.0])])
def test_scores_that_lack_a_row_or_are_not_finite_are_refused(values: np.ndarray) -> None:
    @dataclass(frozen=True)
    class Wrong(GradientOfEveryRow):
        def score(self, rows: Sequence[Row], material: Material) -> Scores:
            return Scores(values, fixed(0.0))

    material = tiny_material()
    with pytest.raises(ValueError, match="gradient"):
        score_with_cost(Wrong(), as_rows(material.loaded, PAIRS), material)
