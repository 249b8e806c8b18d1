from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from gradshield.filters.adapter_warm_up import adam_step, attention_adapter, gradient_at, warm_up
from gradshield.filters.base import Material, Need, Row
from gradshield.filters.cost import score_with_cost
from gradshield.filters.less import Less
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material
from tests.tiny_models import same_weights, snapshot

SMALL = Less(
    lora=LoraSettings(rank=2, alpha=8),
    training=TrainingSettings(
        learning_rate=5e-3, epochs=2, batch_size=3, micro_batch_size=1, warmup_steps=0
    ),
)


def all_cosines(
    material: Material, rows: Sequence[Row], targets: Sequence[Row], chosen: Less
) -> list[np.ndarray]:
    """By epoch, the learning rate times the cosine of every row with every target."""
    model, training = material.loaded.model, chosen.training
    order = np.random.default_rng(material.seed).permutation(len(rows))[:3]
    examples = [rows[place].example for place in order]
    seeded = training.model_copy(update={"seed": material.seed})
    found = []
    with attention_adapter(model, chosen.lora, material.seed) as parameters:
        for checkpoint in warm_up(model, parameters, examples, seeded):
            steps = np.stack(
                [
                    adam_step(checkpoint, gradient_at(model, checkpoint, row.example)).numpy()
                    for row in rows
                ]
            )
            plain = np.stack(
                [gradient_at(model, checkpoint, row.example).numpy() for row in targets]
            )
            steps /= np.linalg.norm(steps, axis=1, keepdims=True)
            plain /= np.linalg.norm(plain, axis=1, keepdims=True)
            found.append(checkpoint.rate * steps @ plain.T)
    return found


def test_scores_are_the_weighted_mean_of_all_cosines() -> None:
    material = tiny_material(seed=4)
    rows = as_rows(material.loaded, PAIRS)
    scores = SMALL.score(rows, material)
    # One step an epoch: the first at the full rate, the second at half of it.
    parts = all_cosines(material, rows, material.harmful, SMALL)
    expected = sum(part.mean(axis=1) for part in parts) / (5e-3 * (1.0 + 0.5))
    assert scores.values == pytest.approx(expected, abs=1e-5)
    assert np.abs(scores.values).max() <= 1.0
    assert scores.trainings == 1


def test_influence_towards_refusals_is_subtracted_if_asked() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    towards = SMALL.score(rows, material).values
    refused = SMALL.score(rows, replace(material, harmful=material.refused)).values
    both = replace(SMALL, against_refused=True)
    assert both.score(rows, material).values == pytest.approx(towards - refused, abs=1e-5)
    assert both.needs == {Need.HARMFUL_ANSWERS, Need.REFUSALS}
    assert SMALL.needs == {Need.HARMFUL_ANSWERS}


def test_the_target_itself_has_the_highest_influence() -> None:
    # No row points more towards a target than the target itself.
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    alone = replace(material, harmful=[rows[2]])
    scores = SMALL.score(rows, alone)
    assert scores.values.argmax() == 2
    assert scores.values[2] > 0


def test_a_projection_changes_little_and_one_of_no_fewer_dimensions_nothing() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    whole = SMALL.score(rows, material).values
    projected = replace(SMALL, dimensions=800).score(rows, material).values
    assert not np.array_equal(projected, whole)
    assert projected == pytest.approx(whole, abs=0.15)
    assert np.array_equal(replace(SMALL, dimensions=10**6).score(rows, material).values, whole)


def test_it_depends_on_the_seed_alone() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    torch.manual_seed(1)
    first = SMALL.score(rows, material).values
    torch.manual_seed(2)
    assert np.array_equal(first, SMALL.score(rows, material).values)
    assert not np.array_equal(first, SMALL.score(rows, tiny_material(seed=1)).values)


def test_cost_and_what_is_left_of_it() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    model = material.loaded.model
    before, flags = snapshot(model), [one.requires_grad for one in model.parameters()]
    _, cost = score_with_cost(SMALL, rows, material)
    order = np.random.default_rng(0).permutation(len(rows))[:3]

    def tokens(some: Sequence[Row]) -> int:
        return sum(len(row.example.input_ids) for row in some)

    an_epoch = tokens(rows) + tokens(material.harmful) + tokens([rows[one] for one in order])
    assert cost.backwards == pytest.approx(2 * an_epoch / tokens(rows))
    assert cost.forwards == cost.backwards
    assert cost.trainings == 1
    assert same_weights(model, before)
    assert [one.requires_grad for one in model.parameters()] == flags
    assert all(one.grad is None for one in model.parameters())


def test_the_highest_twentieth_is_removed() -> None:
    material = tiny_material()
    rows = as_rows(
        material.loaded,
        [(f"{prompt} {n}", f"{answer} {n}") for n in range(5) for prompt, answer in PAIRS],
    )
    scores = replace(SMALL, training=SMALL.training.model_copy(update={"epochs": 1})).score(
        rows, material
    )
    assert (scores.values >= scores.threshold).sum() == 1


def test_defaults_are_those_of_the_released_code() -> None:
    less = Less()
    assert (less.lora.rank, less.lora.alpha) == (128, 512)
    assert (less.training.epochs, less.training.learning_rate) == (4, 2e-5)
    assert less.training.batch_size == 32
    assert not less.against_refused


@pytest.mark.parametrize("against_refused", [False, True])
def test_target_rows_are_needed(against_refused: bool) -> None:
    material = tiny_material()
    material = replace(material, **({"refused": ()} if against_refused else {"harmful": ()}))
    with pytest.raises(ValueError, match="LESS needs target rows"):
        replace(SMALL, against_refused=against_refused).score(
            as_rows(material.loaded, PAIRS), material
        )
