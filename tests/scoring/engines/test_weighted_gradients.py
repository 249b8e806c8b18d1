"""The engines that weigh an example's gradient: by layer, and as Adam would."""

from __future__ import annotations

import pytest
import torch

from gradshield.models.layers import block_weights
from gradshield.probes.direction import Direction
from gradshield.scoring.engines.adam import AdamPreconditioned, AdamState, warmed_up
from gradshield.scoring.engines.normalised import PerExampleNormalised
from gradshield.scoring.engines.per_example import example_gradient
from tests.tiny_models import (
    full_logits_loss,
    losses,
    mixed_examples,
    random_direction,
    tiny_llama,
)


def test_each_layers_gradient_is_made_a_unit_long() -> None:
    model = tiny_llama()
    direction = random_direction(model)
    prepared = PerExampleNormalised().prepare(model, direction, "sum", [])
    for example, score in zip(mixed_examples(), prepared.score(mixed_examples()), strict=True):
        weights = [weight.tensor for weight in block_weights(model).values()]
        gradients = torch.autograd.grad(full_logits_loss(model, example), weights)
        cosines = [
            float((gradient * part).sum() / gradient.norm())
            for gradient, part in zip(gradients, direction.tensors.values(), strict=True)
        ]
        assert score.fihs == pytest.approx(-sum(cosines) / direction.norm, rel=1e-3, abs=1e-6)
        assert score.token_fihs is None


def test_a_layer_without_a_gradient_adds_nothing() -> None:
    model = tiny_llama()
    model.unused = torch.nn.Linear(3, 3)
    direction = random_direction(model)
    rest = {name: part for name, part in direction.tensors.items() if name != "unused"}
    [with_unused] = (
        PerExampleNormalised().prepare(model, direction, "sum", []).score(mixed_examples()[:1])
    )
    without = Direction(rest, {})
    [plain] = PerExampleNormalised().prepare(model, without, "sum", []).score(mixed_examples()[:1])
    assert with_unused.fihs * direction.norm == pytest.approx(plain.fihs * without.norm, rel=1e-5)


def test_the_state_steps_as_torchs_adam_does() -> None:
    torch.manual_seed(0)
    gradients = [torch.randn(4, 3) for _ in range(6)]
    weight = torch.nn.Parameter(torch.zeros(4, 3))
    optimizer = torch.optim.Adam([weight], lr=1.0)
    state = AdamState([torch.zeros(4, 3)], [torch.zeros(4, 3)])
    for gradient in gradients:
        before = weight.detach().clone()
        weight.grad = gradient
        optimizer.step()
        torch.testing.assert_close(state.step_on(0, gradient), before - weight.detach())
        state.see([gradient])
    assert state.steps == 6


def test_the_score_is_the_product_with_adams_step() -> None:
    model = tiny_llama()
    direction = random_direction(model)
    sample, example = mixed_examples()[:3], mixed_examples()[4]
    prepared = AdamPreconditioned().prepare(model, direction, "mean", sample)
    assert "after 3 steps" in prepared.notes[0]
    [score] = prepared.score([example])
    assert score.row == example.row
    state = warmed_up(model, direction, "mean", sample)
    gradients, loss = example_gradient(model, direction.tensors, example, "mean")
    product = sum(
        float((state.step_on(index, gradient) * part).sum())
        for index, (gradient, part) in enumerate(
            zip(gradients, direction.tensors.values(), strict=True)
        )
    )
    assert score.fihs == pytest.approx(-product / direction.norm, rel=1e-4)
    assert score.loss == pytest.approx(loss)


def test_the_state_is_not_moved_by_scoring() -> None:
    model = tiny_llama()
    prepared = AdamPreconditioned().prepare(
        model, random_direction(model), "mean", mixed_examples()[:2]
    )
    once, again = (prepared.score(mixed_examples()[2:4]) for _ in range(2))
    assert once == again


def test_what_normalised_scores_are_is_told() -> None:
    model = tiny_llama()
    prepared = PerExampleNormalised().prepare(model, random_direction(model), "sum", [])
    assert prepared.notes == (
        "each layer's gradient of an example is made a unit long: no derivative, a cosine",
    )


def test_the_loss_of_a_normalised_score_is_that_of_its_row() -> None:
    model = tiny_llama()
    for reduction in ("sum", "mean"):
        engine = PerExampleNormalised().prepare(model, random_direction(model), reduction, [])
        found = engine.score(mixed_examples())
        assert [score.row for score in found] == [example.row for example in mixed_examples()]
        expected = losses(mixed_examples(), model)
        assert [score.loss for score in found] == pytest.approx(expected, rel=1e-4)
