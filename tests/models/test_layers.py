from __future__ import annotations

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from gradshield.errors import UserError
from gradshield.models.layers import LATE_MLP, block_linear_layers, block_weights, weights_by_name
from tests.tiny_architectures import tiny_architecture
from tests.tiny_models import OneLayerModel, tiny_gpt2, tiny_llama

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_embedding_head_and_norms_are_left_out(tied: bool) -> None:
    found = block_weights(tiny_llama(tied=tied))
    expected = {
        f"model.layers.{layer}.{part}.{name}"
        for layer in (0, 1)
        for part, names in (("self_attn", ATTENTION), ("mlp", MLP))
        for name in names
    }
    assert set(found) == expected


def test_gpt2_keeps_its_linear_maps_as_conv1d() -> None:
    found = block_linear_layers(tiny_gpt2())
    names = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    assert set(found) == {f"transformer.h.{layer}.{name}" for layer in (0, 1) for name in names}
    assert all(isinstance(layer, Conv1D) for layer in found.values())


def test_a_pattern_chooses_by_name() -> None:
    found = block_weights(tiny_llama(), r"layers\.1\..*(up|down)_proj")
    assert list(found) == ["model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"]


def test_late_mlp_is_all_but_attention_in_the_last_half_of_the_blocks() -> None:
    assert set(block_weights(tiny_llama(), LATE_MLP)) == {
        f"model.layers.1.mlp.{name}" for name in MLP
    }
    assert set(block_weights(tiny_gpt2(), LATE_MLP)) == {
        f"transformer.h.1.mlp.{name}" for name in ("c_fc", "c_proj")
    }


def test_a_model_without_late_mlp_is_told_so() -> None:
    model = OneLayerModel(torch.zeros(5, 3), torch.zeros(5, 3))
    model.body.blocks = torch.nn.ModuleDict({"attention": torch.nn.Linear(3, 3)})
    with pytest.raises(UserError, match="OneLayerModel matches the modules 'late_mlp'"):
        block_weights(model, LATE_MLP)


def test_a_pattern_that_matches_nothing_is_shown() -> None:
    with pytest.raises(UserError, match="LlamaForCausalLM matches the modules 'experts'"):
        block_weights(tiny_llama(), "experts")


def test_a_pattern_cannot_bring_the_head_in() -> None:
    with pytest.raises(UserError, match="lm_head"):
        block_weights(tiny_llama(), "lm_head")


def test_a_pattern_that_is_no_regular_expression_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"'layers\[' is no regular expression"):
        block_weights(tiny_llama(), "layers[")


def test_weights_are_found_again_in_the_order_of_their_names() -> None:
    model = tiny_llama()
    names = ["model.layers.1.mlp.up_proj", "model.layers.0.mlp.up_proj"]
    found = [weight.module for weight in weights_by_name(model, names)]
    assert found == [model.model.layers[1].mlp.up_proj, model.model.layers[0].mlp.up_proj]


def test_the_stacked_matrices_of_experts_are_weights_and_no_layers() -> None:
    model = tiny_architecture("mixtral")
    experts = {f"model.layers.1.mlp.experts.{name}" for name in ("gate_up_proj", "down_proj")}
    found = block_weights(model, LATE_MLP)
    assert set(found) == experts
    stack = found["model.layers.1.mlp.experts.down_proj"].tensor
    assert stack is model.model.layers[1].mlp.experts.down_proj
    assert not experts & set(block_linear_layers(model))


def test_a_layer_of_another_model_is_named() -> None:
    with pytest.raises(UserError, match=r"holds the layer body\.blocks\.0\.linear, which"):
        weights_by_name(tiny_llama(), block_weights(OneLayerModel(torch.eye(3), torch.eye(3))))
