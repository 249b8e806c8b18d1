from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gradshield.errors import UserError
from gradshield.evaluation.generation import Answer
from gradshield.filters import larf
from gradshield.filters.base import Material
from gradshield.filters.larf import Larf, most_sensitive_layer, published_depth, scaled_block
from gradshield.models.load import LoadedModel
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material
from tests.models.states_alone import cosine, states_alone
from tests.tiny_architectures import tiny_architecture
from tests.tiny_models import answer, chat_tokenizer, same_weights, snapshot, tiny_llama

IDS = torch.tensor([[40, 41, 42, 43]])


@pytest.mark.parametrize("layer", [1, 2])
def test_the_score_is_the_mean_difference_of_cosines_over_pairs(layer: int) -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    scores = Larf(choose_layer=lambda _: layer).score(rows, material)
    for row, value in zip(rows, scores.values, strict=True):
        own = states_alone(material.loaded, row.example, layer)[-1]
        differences = [
            cosine(own, states_alone(material.loaded, answered.example, layer)[-1])
            - cosine(own, states_alone(material.loaded, refused.example, layer)[-1])
            for answered, refused in zip(material.harmful, material.refused, strict=True)
        ]
        assert value == pytest.approx(np.mean(differences), abs=1e-5)


def test_answered_rows_stand_above_refused_ones() -> None:
    material = tiny_material()
    answered = Larf().score(material.harmful, material).values
    refused = Larf().score(material.refused, material).values
    assert answered.min() > refused.max()


def test_the_published_depth_is_layer_10_of_32_and_never_the_embedding() -> None:
    material = tiny_material()
    assert published_depth(material) == 1
    config = material.loaded.model.config
    config.num_hidden_layers = 32
    assert published_depth(material) == 10


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mixtral"])
def test_a_scaled_block_is_the_model_with_that_blocks_matrices_multiplied(
    architecture: str,
) -> None:
    model = tiny_architecture(architecture)
    expected = copy.deepcopy(model)
    blocks = expected.get_submodule("transformer.h" if architecture == "gpt2" else "model.layers")
    with torch.no_grad():
        for name, parameter in blocks[1].named_parameters():
            # The router of experts chooses among them and belongs to no attention and no MLP.
            if parameter.ndim > 1 and name != "mlp.gate.weight":
                parameter.mul_(0.7)
    before = snapshot(model)
    whole = model(IDS).logits
    with scaled_block(model, 1, 0.7):
        scaled = model(IDS).logits
    torch.testing.assert_close(scaled, expected(IDS).logits)
    assert not torch.allclose(scaled, whole)
    assert same_weights(model, before)
    assert all(isinstance(one, torch.nn.Parameter) for one in model.parameters())


Refused = dict[tuple[int, float], int]


def refusing_by_weights(monkeypatch: pytest.MonkeyPatch, refused: Refused) -> Material:
    """Let as many prompts be refused as said for a scaled block; one if none is scaled."""
    model = tiny_llama()
    originals = [layer.mlp.up_proj.weight.detach().clone() for layer in model.model.layers]

    def generate(
        asked: Any, tokenizer: Any, prompts: Sequence[str], *, max_new_tokens: int
    ) -> list[Answer]:
        assert (max_new_tokens, asked) == (32, model)
        factors = [
            round(float(layer.mlp.up_proj.weight.detach()[0, 0] / original[0, 0]), 3)
            for layer, original in zip(model.model.layers, originals, strict=True)
        ]
        scaled = [(block, factor) for block, factor in enumerate(factors) if factor != 1]
        assert len(scaled) <= 1
        count = refused.get(scaled[0], 1) if scaled else 1
        texts = ["I can't help with that."] * count + ["Yes."] * (len(prompts) - count)
        return [answer(text) for text in texts]

    monkeypatch.setattr(larf, "generate_answers", generate)
    return replace(tiny_material(), loaded=LoadedModel(model, chat_tokenizer(), "tiny"))


@pytest.mark.parametrize(
    ("refused", "layer"),
    [
        ({(0, 0.7): 2, (1, 1.3): 3}, 2),
        # A block that moves the count up and down moves it more than one that moves it up alone.
        ({(0, 0.7): 0, (0, 1.3): 2, (1, 1.3): 2}, 1),
        ({(0, 0.9): 2, (1, 1.1): 2}, 1),
    ],
)
def test_the_most_sensitive_block_is_found(
    monkeypatch: pytest.MonkeyPatch, refused: Refused, layer: int
) -> None:
    material = refusing_by_weights(monkeypatch, refused)
    before = snapshot(material.loaded.model)
    assert most_sensitive_layer(material, ["a", "b", "c"]) == layer
    assert same_weights(material.loaded.model, before)


def test_the_packaged_prompts_are_harmless_but_scary(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def refuse_once(
        model: Any, tokenizer: Any, prompts: Sequence[str], **ignored: Any
    ) -> list[Answer]:
        seen.extend(prompts)
        refused = "I can't help with that." if len(seen) == len(prompts) else "Yes."
        return [answer(refused), *[answer("Yes.")] * (len(prompts) - 1)]

    monkeypatch.setattr(larf, "generate_answers", refuse_once)
    assert most_sensitive_layer(tiny_material()) == 1
    assert len(set(seen)) == 26
    assert len(seen) == 26 * (1 + 2 * 6)


def test_blocks_that_change_nothing_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    material = refusing_by_weights(monkeypatch, {})
    with pytest.raises(UserError, match="name LARF's layer"):
        most_sensitive_layer(material, ["a", "b", "c"])


def test_a_real_model_answers_while_it_is_scaled() -> None:
    """A random model refuses nothing, whatever is scaled."""
    material = tiny_material()
    before = snapshot(material.loaded.model)
    with pytest.raises(UserError, match="tiny"):
        most_sensitive_layer(material, ["hello"])
    assert same_weights(material.loaded.model, before)
