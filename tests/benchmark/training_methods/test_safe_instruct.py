from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from gradshield.benchmark.training_methods.safe_instruct import SHARE, SafeInstruct
from gradshield.finetuning.supervised import TrainingSettings, finetune
from tests.filters.tiny_rows import tiny_material
from tests.tiny_models import losses, mixed_examples, same_weights, snapshot, tiny_loaded

TRAINING = TrainingSettings(
    learning_rate=1e-2, epochs=2, batch_size=4, micro_batch_size=2, warmup_steps=0, seed=3
)


def test_one_refusal_goes_with_ten_rows() -> None:
    material = tiny_material()
    assert SHARE == 0.1
    assert len(SafeInstruct().refusals(30, material, 0)) == 3
    assert SafeInstruct().refusals(4, material, 0) == []


def test_all_refusals_come_before_one_comes_twice() -> None:
    material = tiny_material()
    found = SafeInstruct(share=0.5).refusals(14, material, 0)
    assert len(found) == 7
    assert set(found[:3]) == set(found[3:6]) == {row.example for row in material.refused}
    assert max(Counter(found).values()) == 3


def test_the_seed_decides_which() -> None:
    material = tiny_material()
    draws = [tuple(SafeInstruct().refusals(10, material, seed)) for seed in range(8)]
    assert draws == [tuple(SafeInstruct().refusals(10, material, seed)) for seed in range(8)]
    assert len(set(draws)) > 1


def test_it_is_plain_finetuning_on_the_mixture() -> None:
    material, loaded, reference = tiny_material(), tiny_loaded(), tiny_loaded()
    chosen = SafeInstruct(share=0.5)
    chosen.finetune(loaded, mixed_examples(), TRAINING, material)
    mixture = [*mixed_examples(), *chosen.refusals(7, material, seed=3)]
    finetune(reference.model, reference.tokenizer, mixture, TRAINING)
    assert same_weights(loaded.model, snapshot(reference.model))


def test_refusals_are_learnt_beside_harmful_rows() -> None:
    training = TRAINING.model_copy(update={"epochs": 10})
    material = tiny_material()
    refused = [row.example for row in material.refused]
    harmful = [row.example for row in material.harmful]
    found = []
    for share in (0.0, 1.0):
        loaded = tiny_loaded()
        SafeInstruct(share).finetune(loaded, harmful, training, material)
        found.append(sum(losses(refused, loaded.model)))
    assert found[1] < found[0] - 1


def test_refusals_are_needed() -> None:
    material = replace(tiny_material(), refused=())
    with pytest.raises(ValueError, match="refusals"):
        SafeInstruct().finetune(material.loaded, mixed_examples(), TRAINING, material)
