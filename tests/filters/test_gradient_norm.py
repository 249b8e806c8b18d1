from __future__ import annotations

import numpy as np
import pytest
import torch

from gradshield.filters.base import Material
from gradshield.filters.cost import Cost, score_with_cost
from gradshield.filters.gradient_norm import ModerateGradient, gradient_norms, length
from gradshield.models.load import LoadedModel
from tests.filters.plain_gradients import plain_gradient
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material
from tests.tiny_models import chat_tokenizer, same_weights, snapshot, tiny_gpt2


def test_the_length_is_that_of_all_numbers_together() -> None:
    assert length([torch.tensor([[3.0, 0.0]]), torch.tensor([4.0, 12.0])]) == 13.0


def test_norms_are_those_of_plain_gradients() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    expected = [float(plain_gradient(material.loaded, row.example).norm()) for row in rows]
    assert gradient_norms(rows, material) == pytest.approx(expected, rel=1e-5)


def test_norms_of_a_model_whose_layers_keep_their_weights_transposed() -> None:
    loaded = LoadedModel(tiny_gpt2(), chat_tokenizer(), "tiny")
    material = Material(loaded)
    rows = as_rows(loaded, PAIRS[:2])
    expected = [float(plain_gradient(loaded, row.example).norm()) for row in rows]
    assert gradient_norms(rows, material) == pytest.approx(expected, rel=1e-5)


def test_the_fifth_nearest_the_median_is_kept_on_both_sides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The median is 3.5; only 3 and 4 are half a unit away.
    norms = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5, 0.1, 9.0, 70.0])
    monkeypatch.setattr("gradshield.filters.gradient_norm.gradient_norms", lambda *_: norms)
    material = tiny_material()
    scores = ModerateGradient().score(as_rows(material.loaded, PAIRS), material)
    assert norms[scores.values < scores.threshold].tolist() == [3.0, 4.0]
    assert scores.values[norms.argmax()] == scores.values.max() == 66.5
    assert scores.values[norms.argmin()] == pytest.approx(3.4)


def test_it_costs_a_forward_and_a_backward_and_leaves_the_model_alone() -> None:
    material = tiny_material()
    model = material.loaded.model
    before, flags = snapshot(model), [one.requires_grad for one in model.parameters()]
    _, cost = score_with_cost(ModerateGradient(), as_rows(material.loaded, PAIRS), material)
    assert cost == Cost(1.0, 1.0, 0)
    assert same_weights(model, before)
    assert [one.requires_grad for one in model.parameters()] == flags
    assert all(one.grad is None for one in model.parameters())
