from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradshield.models.hidden_states import (
    last_token,
    layer_count,
    mean_response,
    pooled_states,
    response_shift,
)
from gradshield.models.load import LoadedModel
from tests.models.states_alone import states_alone
from tests.tiny_architectures import tiny_architecture
from tests.tiny_models import chat_tokenizer, mixed_examples, tiny_loaded

STATES = torch.tensor([[[1.0, 0.0], [2.0, 4.0], [6.0, 8.0], [9.0, 9.0]]])
"""One layer, four tokens."""
RESPONSE = torch.tensor([False, True, True, False])


def test_poolings_of_states_written_by_hand() -> None:
    assert last_token(STATES, RESPONSE).tolist() == [[9.0, 9.0]]
    assert mean_response(STATES, RESPONSE).tolist() == [[4.0, 6.0]]
    assert response_shift(STATES, RESPONSE).tolist() == [[3.0, 6.0]]


def test_a_shift_starts_before_the_first_of_several_answers() -> None:
    response = torch.tensor([False, True, False, True])
    assert response_shift(STATES, response).tolist() == [[5.5 - 1.0, 6.5]]


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "gpt2"])
def test_states_of_a_batch_are_those_of_each_example_alone(name: str) -> None:
    loaded = LoadedModel(tiny_architecture(name), chat_tokenizer(), name)
    assert layer_count(loaded.model) == 2
    examples = mixed_examples()
    layers = [2, 0, 1]
    found = {
        pooling.__name__: pooled_states(loaded.model, examples, layers, pooling)
        for pooling in (last_token, mean_response, response_shift)
    }
    assert found["last_token"].shape == (len(examples), 3, 32)
    assert found["last_token"].dtype == np.float32
    for place, example in enumerate(examples):
        mask = np.array(example.response_mask)
        first = int(np.flatnonzero(mask)[0])
        for column, layer in enumerate(layers):
            states = states_alone(loaded, example, layer)
            mean = states[mask].mean(axis=0)
            expected = {
                "last_token": states[-1],
                "mean_response": mean,
                "response_shift": mean - states[first - 1],
            }
            for pooling, value in expected.items():
                assert found[pooling][place, column] == pytest.approx(value, abs=2e-5)


def test_the_last_layer_goes_by_minus_one_too() -> None:
    model = tiny_loaded().model
    found = pooled_states(model, mixed_examples(), [2, -1], last_token)
    assert np.array_equal(found[:, 0], found[:, 1])


def test_rows_need_not_be_numbered_and_progress_adds_up() -> None:
    model = tiny_loaded().model
    examples = mixed_examples()
    unnumbered = [replace(example, row=7) for example in examples]
    steps: list[int] = []
    found = pooled_states(model, unnumbered, [1], mean_response, steps.append)
    assert np.array_equal(found, pooled_states(model, examples, [1], mean_response))
    assert sum(steps) == len(examples)


def test_states_are_float32_whatever_the_model_is() -> None:
    model = tiny_loaded().model.to(torch.bfloat16)
    assert pooled_states(model, mixed_examples()[:2], [1], last_token).dtype == np.float32
