from __future__ import annotations

import pytest
import torch

from gradshield.models.layers import block_linear_layers
from gradshield.models.restored import weights_restored
from tests.tiny_models import same_weights, snapshot, tiny_llama


@pytest.mark.parametrize("fails", [False, True])
def test_weights_and_what_may_be_trained_are_put_back(fails: bool) -> None:
    model = tiny_llama()
    model.lm_head.weight.requires_grad_(False)
    before = snapshot(model)
    flags = [one.requires_grad for one in model.parameters()]
    try:
        with weights_restored(model), torch.no_grad():
            for layer in block_linear_layers(model).values():
                layer.weight.add_(0.1)
            for parameter in model.parameters():
                parameter.requires_grad_(not parameter.requires_grad)
            assert not same_weights(model, before)
            if fails:
                raise RuntimeError("midway")
    except RuntimeError:
        assert fails
    assert same_weights(model, before)
    assert [one.requires_grad for one in model.parameters()] == flags
    assert any(flags)
    assert not all(flags)
