"""What of the forward-mode engine the comparison of all engines does not tell."""

from __future__ import annotations

import math

import pytest
import torch

from gradshield.data import TokenizedExample
from gradshield.models.open_weights import open_weights
from gradshield.scoring.engines.jvp import _example_score, tangent_scale
from tests.tiny_models import random_direction, tiny_llama


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_direction_is_taken_as_it_is_where_numbers_are_fine(dtype: torch.dtype) -> None:
    model = tiny_llama().to(dtype)
    assert tangent_scale(model, random_direction(model)) == 1.0


def test_in_half_precision_the_direction_is_made_as_long_as_its_weights() -> None:
    model = tiny_llama()
    direction = random_direction(model)
    with open_weights(model, direction.tensors) as weights:
        length = math.sqrt(sum(float(one.tensor.detach().square().sum()) for one in weights))
    scale = tangent_scale(model.to(torch.bfloat16), direction)
    assert scale * direction.norm == pytest.approx(length, rel=0.01)


def test_a_model_that_does_not_run_the_direction_scores_nothing() -> None:
    example = TokenizedExample(2, (1, 2, 3), (False, True, True), False)
    score = _example_score(example, torch.tensor([1.0, 3.0]), None, 1.0, "sum")
    assert (score.row, score.fihs, score.loss, score.token_fihs) == (2, 0.0, 2.0, (0.0, 0.0))
