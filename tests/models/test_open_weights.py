from __future__ import annotations

import pytest
import torch

from gradshield.models.open_weights import (
    differentiable_weights,
    open_weights,
    replaced_forward,
    trainable_only,
)
from tests.tiny_models import tiny_llama

UP = "model.layers.0.mlp.up_proj"


def test_only_the_chosen_weights_take_gradients_and_the_flags_come_back() -> None:
    model = tiny_llama()
    model.lm_head.weight.requires_grad_(False)
    chosen = model.model.layers[0].mlp.up_proj.weight
    chosen.requires_grad_(False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    with trainable_only(model, [chosen]):
        assert [name for name, p in model.named_parameters() if p.requires_grad] == [
            "model.layers.0.mlp.up_proj.weight"
        ]
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before


def test_the_flags_come_back_after_a_fault() -> None:
    model = tiny_llama()

    def fail() -> None:
        with trainable_only(model, []):
            assert not any(parameter.requires_grad for parameter in model.parameters())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_open_weights_are_the_parameters_themselves_where_nothing_is_quantised() -> None:
    model = tiny_llama()
    with open_weights(model, [UP]) as [weight]:
        assert weight.tensor is model.model.layers[0].mlp.up_proj.weight


def test_differentiable_weights_take_gradients_inside_alone() -> None:
    model = tiny_llama().requires_grad_(False)
    with differentiable_weights(model, [UP]) as [weight]:
        assert weight.requires_grad
        loss = model(torch.tensor([[40, 41, 42]])).logits.logsumexp(-1).sum()
        assert torch.autograd.grad(loss, weight)[0].any()
    assert not weight.requires_grad


def test_a_replaced_forward_comes_back_after_a_fault_and_inside_another() -> None:
    layer = torch.nn.Linear(2, 2)
    inputs = torch.ones(1, 2)
    before = layer(inputs)
    with replaced_forward(layer, lambda x: x + 1):
        with pytest.raises(ZeroDivisionError), replaced_forward(layer, lambda x: x / (1 // 0)):
            layer(inputs)
        assert torch.equal(layer(inputs), inputs + 1)
    assert torch.equal(layer(inputs), before)
    assert "forward" not in layer.__dict__
