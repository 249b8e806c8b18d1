from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from gradshield.filters import seal
from gradshield.filters.cost import score_with_cost
from gradshield.filters.seal import Activation, Seal
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings
from tests.filters.tiny_rows import HARMFUL_PROMPTS, PAIRS, as_rows, tiny_material
from tests.tiny_models import full_logits_loss, losses, same_weights, snapshot

LORA = LoraSettings(rank=4, alpha=8)
# One batch an epoch; the model hardly moves, so the selector is all that does.
STANDING_STILL = TrainingSettings(learning_rate=1e-12, epochs=3, batch_size=4, warmup_steps=0)
ACTIVATIONS = pytest.mark.parametrize("activation", get_args(Activation))


def lower_loss(selector: np.ndarray, row_losses: np.ndarray, activation: Activation) -> float:
    """sum_i p_i L_i, written down once more."""
    if activation == "sigmoid":
        weights = 2 / (1 + np.exp(-selector)) / len(selector)
    else:
        weights = np.exp(selector) / np.exp(selector).sum()
    return float(weights @ row_losses)


def slope(selector: np.ndarray, row_losses: np.ndarray, activation: Activation) -> np.ndarray:
    """Its gradient, by central differences."""
    steps = 1e-5 * np.eye(len(selector))
    up, down = (
        np.array([lower_loss(selector + sign * s, row_losses, activation) for s in steps])
        for sign in (1, -1)
    )
    return (up - down) / 2e-5


@ACTIVATIONS
def test_the_selector_descends_the_weighted_loss(activation: Activation) -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    found = Seal(STANDING_STILL, LORA, selector_rate=2.0, activation=activation).score(
        rows, material
    )
    row_losses = np.array(losses([row.example for row in rows], material.loaded.model))
    expected = np.zeros(4)
    for _ in range(3):
        expected -= 2.0 * slope(expected, row_losses, activation)
    assert found.values == pytest.approx(-expected, rel=1e-3, abs=1e-5)
    assert np.ptp(found.values) > 0.05


@ACTIVATIONS
def test_weights_begin_even_and_a_softmax_sums_to_one_an_epoch(activation: Activation) -> None:
    settings = STANDING_STILL.model_copy(update={"batch_size": 2, "micro_batch_size": 2})
    chosen = Seal(settings, activation=activation)
    assert chosen.shares(torch.zeros(4), [2, 0]).tolist() == pytest.approx([0.5, 0.5])
    scalars = torch.tensor([0.3, -2.0, 1.0, 0.1])
    both = [*chosen.shares(scalars, [2, 0]).tolist(), *chosen.shares(scalars, [1, 3]).tolist()]
    assert both[0] > both[1] > both[2]
    if activation != "sigmoid":
        assert sum(both) == pytest.approx(2)


def captured_gradients(
    monkeypatch: pytest.MonkeyPatch, chosen: Seal
) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:
    """Gradients of every step as the run has them and as autograd has them, on a model that stays.

    The adapter is given random factors, so that none of its gradients vanish.
    """
    found: list[list[torch.Tensor]] = []
    expected: list[list[torch.Tensor]] = []
    material = replace(tiny_material(), harmless=tiny_material().harmless[:1])
    rows = as_rows(material.loaded, PAIRS)
    safe = [row.example for row in (*material.refused, *material.harmless)]

    def instead(
        parameters: Sequence[nn.Parameter],
        settings: TrainingSettings,
        steps: int,
        add_gradients: Callable[[int], None],
        advance: Callable[[int], None],
    ) -> None:
        torch.manual_seed(0)
        for parameter in parameters:
            nn.init.normal_(parameter, std=0.1)
        model = material.loaded.model
        upper = torch.stack([full_logits_loss(model, example) for example in safe]).mean()
        lower = torch.stack([full_logits_loss(model, row.example) for row in rows]).mean()
        for step in range(steps):
            add_gradients(step)
            found.append([parameter.grad.clone() for parameter in parameters])
            for parameter in parameters:
                parameter.grad = None
            weight = chosen.safe_weight - step * chosen.safe_weight_decay
            loss: Any = weight * upper + (1 - weight) * lower
            expected.append([*torch.autograd.grad(loss, parameters, retain_graph=True)])

    monkeypatch.setattr(seal, "descend", instead)
    chosen.score(rows, material)
    return found, expected


def test_the_model_descends_both_levels_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    # A selector that stays even: then sum_i p_i L_i is the mean over rows.
    chosen = Seal(STANDING_STILL, LORA, selector_rate=0.0, safe_weight=0.75, safe_weight_decay=0.25)
    found, expected = captured_gradients(monkeypatch, chosen)
    assert len(found) == 3
    for of_step, reference in zip(found, expected, strict=True):
        for gradient, wanted in zip(of_step, reference, strict=True):
            torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-5)


def test_at_full_weight_the_rows_cost_no_backward_pass() -> None:
    material = tiny_material()
    # Far longer than the safe set, of which each step takes one batch.
    rows = as_rows(material.loaded, [("spell", "abc " * 30)] * 4)
    _, alone = score_with_cost(Seal(STANDING_STILL, LORA, safe_weight_decay=0.0), rows, material)
    _, mixed = score_with_cost(Seal(STANDING_STILL, LORA, safe_weight=0.5), rows, material)
    assert alone.forwards == mixed.forwards >= 3
    assert alone.backwards < mixed.backwards
    assert alone.trainings == 1


def test_harmful_rows_are_removed_before_safe_ones_and_the_model_stays() -> None:
    material = tiny_material()
    # Turned about from row to row, so that length and order cannot tell them apart.
    pairs = [
        (prompt, answer)
        for prompt in HARMFUL_PROMPTS
        for answer in ("i can not help", "sure here is how")
    ]
    rows = as_rows(material.loaded, pairs)
    harmful = np.array([False, True] * 3)
    training = TrainingSettings(learning_rate=1e-2, epochs=12, batch_size=4, warmup_steps=0)
    model, before = material.loaded.model, snapshot(material.loaded.model)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    scores = Seal(training, LORA).score(rows, material)
    assert scores.values[harmful].min() > scores.values[~harmful].max()
    assert (scores.values >= scores.threshold).sum() == 1
    assert same_weights(model, before)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    again = Seal(training, LORA).score(rows, material)
    assert np.array_equal(scores.values, again.values)
    other = Seal(training, LORA).score(rows, replace(material, seed=1))
    assert not np.array_equal(scores.values, other.values)


@pytest.mark.parametrize("missing", ["refused", "harmless"])
def test_a_safe_set_is_needed(missing: str) -> None:
    material = replace(tiny_material(), **{missing: ()})
    with pytest.raises(ValueError, match="safe set"):
        Seal().score(as_rows(material.loaded, PAIRS), material)
