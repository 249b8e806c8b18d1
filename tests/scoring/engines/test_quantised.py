"""Models whose matrices are packed in 4 or 8 bits, by bitsandbytes' kernels for the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from gradshield.models.load import keep_precision
from gradshield.models.open_weights import SIDE, open_weights
from gradshield.probes.direction import Direction, training_direction
from gradshield.scoring.engines import default_engine
from gradshield.scoring.engines.finite_difference import FiniteDifference
from gradshield.scoring.engines.jvp import ForwardMode
from gradshield.scoring.engines.per_example import PerExample
from tests.scoring.engines.test_engines import fihs, relative_error
from tests.tiny_models import mixed_examples, save_tiny_model, tiny_llama

pytest.importorskip("bitsandbytes", reason="no bitsandbytes on this platform")

FOUR_BIT = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
EIGHT_BIT = {"load_in_8bit": True}


def quantised(folder: Path, **settings: Any) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        save_tiny_model(folder),
        quantization_config=BitsAndBytesConfig(**settings),
        dtype=torch.float32,
        device_map="cpu",
    )
    return keep_precision(model.eval())


def dequantised(model: PreTrainedModel) -> PreTrainedModel:
    """A plain model with the numbers that the packed matrices stand for."""
    plain = tiny_llama()
    with torch.no_grad():
        for name, layer in model.named_modules():
            if hasattr(layer, "in_features") and "layers" in name:
                columns = layer(torch.eye(layer.in_features))
                plain.get_submodule(name).weight.copy_(columns.T)
    return plain


@pytest.mark.parametrize("modules", [None, "late_mlp"])
def test_four_bit_engines_agree_with_a_plain_model_of_the_same_numbers(
    tmp_path: Path, modules: str | None
) -> None:
    model = quantised(tmp_path / "model", **FOUR_BIT)
    plain = dequantised(model)
    direction = Direction(training_direction(model, mixed_examples()[:3], modules=modules), {})
    same = training_direction(plain, mixed_examples()[:3], modules=modules)
    for name, tensor in direction.tensors.items():
        torch.testing.assert_close(tensor, same[name], rtol=1e-3, atol=1e-5)
    expected = fihs(PerExample(tokens=False), plain, direction)
    assert relative_error(fihs(PerExample(tokens=False), model, direction), expected) < 1e-4
    assert relative_error(fihs(PerExample(), model, direction), expected) < 1e-4
    assert relative_error(fihs(ForwardMode(), model, direction), expected) < 1e-4
    assert relative_error(fihs(FiniteDifference(), model, direction), expected) < 1e-3


def test_eight_bit_engines_agree_as_far_as_its_rounded_activations_let_them(tmp_path: Path) -> None:
    model = quantised(tmp_path / "model", **EIGHT_BIT)
    direction = Direction(training_direction(model, mixed_examples()[:3]), {})
    expected = fihs(PerExample(tokens=False), model, direction)
    assert relative_error(fihs(ForwardMode(), model, direction), expected) < 0.05


def test_a_quantised_model_is_scored_by_jvp(tmp_path: Path) -> None:
    engine, reason = default_engine(quantised(tmp_path / "model", **FOUR_BIT))
    assert engine == "jvp"
    assert "quantised" in reason


def test_the_side_matrix_is_zero_and_goes_away_again(tmp_path: Path) -> None:
    model = quantised(tmp_path / "model", **FOUR_BIT)
    layer = model.model.layers[0].mlp.up_proj
    inputs = torch.randn(3, layer.in_features)
    before = layer(inputs)
    with open_weights(model, ["model.layers.0.mlp.up_proj"]) as [weight]:
        assert weight.tensor.shape == (layer.out_features, layer.in_features)
        assert not weight.tensor.any()
        assert torch.equal(layer(inputs), before)
    assert SIDE not in dict(layer.named_parameters())
    assert "forward" not in layer.__dict__


def test_a_layer_gives_the_same_with_and_without_gradients(tmp_path: Path) -> None:
    """On some CPUs bitsandbytes would repack it in bfloat16 where no gradient is asked for."""
    layer = quantised(tmp_path / "model", **FOUR_BIT).model.layers[0].mlp.up_proj
    inputs = torch.randn(3, layer.in_features)
    with torch.no_grad():
        without = layer(inputs)
    assert torch.equal(layer(inputs.requires_grad_()), without)
