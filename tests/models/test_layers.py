from __future__ import annotations

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from gradshield.errors import UserError
from gradshield.models.layers import LATE_MLP, block_linear_layers, layers_by_name, trainable_only
from tests.tiny_models import OneLayerModel, tiny_gpt2, tiny_llama

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_embedding_head_and_norms_are_left_out(tied: bool) -> None:
    found = block_linear_layers(tiny_llama(tied=tied))
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
    found = block_linear_layers(tiny_llama(), r"layers\.1\..*(up|down)_proj")
    assert list(found) == ["model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"]


def test_late_mlp_is_all_but_attention_in_the_last_half_of_the_blocks() -> None:
    assert set(block_linear_layers(tiny_llama(), LATE_MLP)) == {
        f"model.layers.1.mlp.{name}" for name in MLP
    }
    assert set(block_linear_layers(tiny_gpt2(), LATE_MLP)) == {
        f"transformer.h.1.mlp.{name}" for name in ("c_fc", "c_proj")
    }


def test_a_model_without_late_mlp_is_told_so() -> None:
    model = OneLayerModel(torch.zeros(5, 3), torch.zeros(5, 3))
    model.blocks = torch.nn.ModuleDict({"attention": torch.nn.Linear(3, 3)})
    with pytest.raises(UserError, match="OneLayerModel matches the modules 'late_mlp'"):
        block_linear_layers(model, LATE_MLP)


def test_a_pattern_that_matches_nothing_is_shown() -> None:
    with pytest.raises(UserError, match="LlamaForCausalLM matches the modules 'experts'"):
        block_linear_layers(tiny_llama(), "experts")


def test_a_pattern_cannot_bring_the_head_in() -> None:
    with pytest.raises(UserError, match="lm_head"):
        block_linear_layers(tiny_llama(), "lm_head")


def test_a_pattern_that_is_no_regular_expression_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"'layers\[' is no regular expression"):
        block_linear_layers(tiny_llama(), "layers[")


def test_layers_are_found_again_in_the_order_of_their_names() -> None:
    model = tiny_llama()
    names = ["model.layers.1.mlp.up_proj", "model.layers.0.mlp.up_proj"]
    found = layers_by_name(model, names)
    assert found == [model.model.layers[1].mlp.up_proj, model.model.layers[0].mlp.up_proj]


def test_a_layer_of_another_model_is_named() -> None:
    with pytest.raises(UserError, match=r"holds the layer blocks\.0\.linear, which LlamaFor"):
        layers_by_name(tiny_llama(), block_linear_layers(OneLayerModel(torch.eye(3), torch.eye(3))))


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
