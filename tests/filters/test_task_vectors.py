from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gradshield.data import TokenizedExample
from gradshield.filters import task_vectors
from gradshield.filters.cost import score_with_cost
from gradshield.filters.task_vectors import (
    TaskVectors,
    difference_of_units,
    preference,
    score_of_step,
    single_step,
)
from gradshield.finetuning.adapter import Factors, copied, fresh_adapter, write_back
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings
from gradshield.models.likelihood import response_token_losses
from tests.filters.tiny_rows import HARMFUL_PROMPTS, PAIRS, as_rows, tiny_material
from tests.tiny_models import (
    full_logits_loss,
    mixed_examples,
    same_weights,
    snapshot,
    tiny_llama,
)

LORA = LoraSettings(rank=3, alpha=6)
TRAINING = TrainingSettings(learning_rate=1e-2, epochs=5, batch_size=4, warmup_steps=0)
SMALL = 1e-3


def products(factors: Sequence[Factors]) -> list[Tensor]:
    return [(b @ a).detach() for a, b in factors]


@pytest.mark.parametrize("fresh", [True, False])
def test_a_step_is_the_change_that_gradient_descent_makes(fresh: bool) -> None:
    model, example = tiny_llama(), mixed_examples()[0]
    with fresh_adapter(model, LORA, 0) as adapter:
        torch.manual_seed(1)
        if not fresh:
            for _, b in adapter:
                nn.init.normal_(b, std=0.1)
        step = products(single_step(model, adapter, example))
        before = copied(adapter)
        parameters = [part for pair in adapter for part in pair]
        optimiser = torch.optim.SGD(parameters, lr=SMALL)
        torch.autograd.backward(response_token_losses(model, [example])[0].mean())
        optimiser.step()
        after = copied(adapter)
    largest = max(float(change.abs().max()) for change in step)
    for found, now, then in zip(step, products(after), products(before), strict=True):
        torch.testing.assert_close(found, (now - then) / SMALL, rtol=0.02, atol=2e-3 * largest)
    # From a fresh adapter, A does not move.
    stood_still = [torch.equal(a, old) for (a, _), (old, _) in zip(after, before, strict=True)]
    assert stood_still == [fresh] * len(adapter)


def test_a_score_is_a_difference_of_cosines_summed_over_layers() -> None:
    generator = torch.Generator().manual_seed(0)

    def factors(rank: int) -> list[Factors]:
        return [
            (torch.randn(rank, 7, generator=generator), torch.randn(5, rank, generator=generator))
            for _ in range(3)
        ]

    step, danger, safety = factors(4), factors(2), factors(2)
    directions = [*map(difference_of_units, danger, safety)]
    expected = 0.0
    for one, towards, away in zip(*map(products, (step, danger, safety)), strict=True):
        unit, up, down = (x.numpy() / np.linalg.norm(x.numpy()) for x in (one, towards, away))
        expected += float((unit * (up - down)).sum())
    assert score_of_step(step, directions) == pytest.approx(expected, rel=1e-4)
    # The length of no layer's step counts.
    longer = [(a, b * length) for (a, b), length in zip(step, (0.01, 3.0, 100.0), strict=True)]
    assert score_of_step(longer, directions) == pytest.approx(expected, rel=1e-4)
    # A step along V_danger itself: one minus its cosine with V_safety, layer by layer.
    still = [(a, torch.zeros_like(b)) for a, b in step]
    assert score_of_step(still, directions) == 0.0
    unmoved = [(a, torch.zeros_like(b)) for a, b in danger]
    assert score_of_step(step, [*map(difference_of_units, unmoved, unmoved)]) == 0.0


def log_likelihood(model: PreTrainedModel, example: TokenizedExample) -> Tensor:
    return -full_logits_loss(model, example) * example.response_tokens


def test_the_preference_is_a_difference_of_log_likelihoods() -> None:
    model = tiny_llama()
    chosen, rejected = mixed_examples()[:2]
    with torch.no_grad():
        expected = float(log_likelihood(model, chosen) - log_likelihood(model, rejected))
        assert float(preference(model, chosen, rejected)) == pytest.approx(expected, rel=1e-5)


def test_the_training_to_refuse_is_dpo_against_the_aligned_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    material = tiny_material()
    model, reference = material.loaded.model, tiny_material().loaded.model
    beta, found, expected = 0.3, [], []

    def instead(
        parameters: Sequence[nn.Parameter],
        settings: TrainingSettings,
        steps: int,
        add_gradients: Callable[[int], None],
        advance: Callable[[int], None],
    ) -> None:
        # Somewhere else than at the start, where every pair weighs the same.
        torch.manual_seed(0)
        for parameter in parameters:
            nn.init.normal_(parameter, std=0.1)
        for parameter in parameters:
            parameter.grad = None
        add_gradients(0)
        found.extend(parameter.grad.clone() for parameter in parameters)
        total = torch.zeros(())
        for refused, harmful in zip(material.refused, material.harmful, strict=True):
            gain, loss = (
                log_likelihood(model, row.example) - log_likelihood(reference, row.example).detach()
                for row in (refused, harmful)
            )
            total = total - torch.log(torch.sigmoid(beta * (gain - loss))) / 3
        expected.extend(torch.autograd.grad(total, parameters))

    monkeypatch.setattr(task_vectors, "descend", instead)
    # All three pairs in one step.
    together = TrainingSettings(learning_rate=1e-2, batch_size=3, micro_batch_size=3)
    chosen = TaskVectors(together, LORA, preference_strength=beta)
    with fresh_adapter(model, LORA, 0) as adapter:
        chosen._trained_to_refuse(adapter, material)
    assert len(found) == len(expected) > 0
    for gradient, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-5)


def test_both_trainings_do_what_they_are_for_from_the_same_start() -> None:
    material = tiny_material()
    model = material.loaded.model
    chosen = TaskVectors(TRAINING, LORA)
    harmful, refused = material.harmful[0].example, material.refused[0].example
    with fresh_adapter(model, LORA, 0) as adapter, torch.no_grad():
        start = copied(adapter)

        def measured() -> tuple[float, float]:
            margin = float(preference(model, refused, harmful))
            return float(response_token_losses(model, [harmful])[0].mean()), margin

        loss, margin = measured()
        with torch.enable_grad():
            danger = chosen._trained_on(
                adapter, [row.example for row in material.harmful], material
            )
        assert measured()[0] < 0.9 * loss
        write_back(adapter, start)
        assert measured() == (loss, margin)
        with torch.enable_grad():
            safety = chosen._trained_to_refuse(adapter, material)
        assert measured()[1] > margin + 1
    for (a, _), (danger_a, _), (safety_a, _) in zip(start, danger, safety, strict=True):
        for trained in (danger_a, safety_a):
            assert float(torch.cosine_similarity(a.flatten(), trained.flatten(), dim=0)) > 0.8


@pytest.mark.parametrize("warm_start", [False, True])
def test_harmful_rows_come_first_and_the_model_stays(warm_start: bool) -> None:
    material = tiny_material()
    pairs = [
        (prompt, answer)
        for prompt in HARMFUL_PROMPTS
        for answer in ("i can not help", "sure here is how")
    ]
    rows = as_rows(material.loaded, pairs)
    harmful = np.array([False, True] * 3)
    model, before = material.loaded.model, snapshot(material.loaded.model)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    chosen = TaskVectors(TRAINING, LORA, warm_start=warm_start)
    scores, cost = score_with_cost(chosen, rows, material)
    assert scores.values[harmful].min() > scores.values[~harmful].max()
    assert scores.values[harmful].min() > 0
    assert (scores.values >= scores.threshold).sum() == 1
    assert scores.trainings == cost.trainings == (3 if warm_start else 2)
    assert same_weights(model, before)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    again = chosen.score(rows, material)
    assert np.array_equal(scores.values, again.values)


def test_the_seed_of_the_material_decides() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    one = TaskVectors(TRAINING, LORA).score(rows, material)
    other = TaskVectors(TRAINING, LORA).score(rows, replace(material, seed=1))
    assert not np.array_equal(one.values, other.values)


@pytest.mark.parametrize(("harmful", "refused"), [(0, 0), (3, 2), (3, 0)])
def test_pairs_of_answers_and_refusals_are_needed(harmful: int, refused: int) -> None:
    material = tiny_material()
    material = replace(
        material, harmful=material.harmful[:harmful], refused=material.refused[:refused]
    )
    with pytest.raises(ValueError, match="answered and refused"):
        TaskVectors().score(as_rows(material.loaded, PAIRS), material)
