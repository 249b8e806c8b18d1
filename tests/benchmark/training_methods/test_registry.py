from __future__ import annotations

import pytest
import torch

from gradshield.benchmark.training_methods import TRAINING_METHODS
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings, finetune
from gradshield.models.restored import weights_restored
from tests.filters.tiny_rows import tiny_material
from tests.tiny_models import losses, mixed_examples, same_weights, snapshot, tiny_loaded

TRAINING = TrainingSettings(
    learning_rate=1e-2,
    epochs=3,
    batch_size=4,
    micro_batch_size=2,
    warmup_steps=0,
    lora=LoraSettings(rank=3, alpha=6),
)


def test_names_are_those_of_the_registry() -> None:
    assert list(TRAINING_METHODS) == ["plain", "safe_instruct", "lisa"]
    assert all(name == one.name for name, one in TRAINING_METHODS.items())


def test_plain_is_finetune() -> None:
    loaded, reference = tiny_loaded(), tiny_loaded()
    TRAINING_METHODS["plain"].finetune(loaded, mixed_examples(), TRAINING, tiny_material())
    finetune(reference.model, reference.tokenizer, mixed_examples(), TRAINING)
    assert same_weights(loaded.model, snapshot(reference.model))


@pytest.mark.parametrize("name", TRAINING_METHODS)
def test_a_method_learns_the_task_repeatably_and_can_be_undone(name: str) -> None:
    material = tiny_material()
    model, examples = material.loaded.model, mixed_examples()
    before, loss_before = snapshot(model), sum(losses(examples, model))
    ends = []
    for seed in (0, 0, 1):
        training = TRAINING.model_copy(update={"seed": seed})
        with weights_restored(model):
            TRAINING_METHODS[name].finetune(material.loaded, examples, training, material)
            assert sum(losses(examples, model)) < loss_before - 1
            assert not model.training
            ends.append(model.model.layers[0].mlp.up_proj.weight.clone())
        assert same_weights(model, before)
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
