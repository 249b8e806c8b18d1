from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch import nn

from gradshield.errors import UserError
from gradshield.filters.cost import counted_passes
from gradshield.finetuning.descent import (
    add_token_gradients,
    add_weighted_gradients,
    descend,
    rounds,
    step_batches,
)
from gradshield.finetuning.supervised import TrainingSettings
from tests.tiny_models import full_logits_loss, losses, mixed_examples, tiny_llama

EXAMPLES = mixed_examples()
WEIGHTS = torch.tensor([0.5, 0.0, -1.0, 2.0, 0.25, 0.0, 0.125])
SETTINGS = TrainingSettings(learning_rate=0.5, epochs=2, batch_size=4, warmup_steps=0)


def nothing(count: int) -> None:
    pass


def test_the_gradient_is_that_of_the_weighted_sum_of_mean_losses() -> None:
    model, reference = tiny_llama(), tiny_llama()
    found = add_weighted_gradients(model, EXAMPLES, WEIGHTS)
    parts = [w * full_logits_loss(reference, e) for w, e in zip(WEIGHTS, EXAMPLES, strict=True)]
    torch.autograd.backward(torch.stack(parts).sum())
    assert found.tolist() == pytest.approx(losses(EXAMPLES, reference), rel=1e-5)
    for parameter, expected in zip(model.parameters(), reference.parameters(), strict=True):
        assert parameter.grad is not None
        assert expected.grad is not None
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-4, atol=1e-6)


def test_gradients_add_up() -> None:
    model, reference = tiny_llama(), tiny_llama()
    add_weighted_gradients(model, EXAMPLES[:3], WEIGHTS[:3])
    add_weighted_gradients(model, EXAMPLES[3:], WEIGHTS[3:])
    add_weighted_gradients(reference, EXAMPLES, WEIGHTS)
    for parameter, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-4, atol=1e-6)


def test_zero_weights_cost_no_backward_pass() -> None:
    model = tiny_llama()
    with counted_passes(model) as passes:
        found = add_weighted_gradients(model, EXAMPLES, torch.zeros(len(EXAMPLES)))
    assert passes.forward > 0
    assert passes.backward == 0
    assert found.tolist() == pytest.approx(losses(EXAMPLES, model), rel=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_tokens_and_not_rows_weigh_the_same_in_the_loss_of_finetune() -> None:
    model, reference = tiny_llama(), tiny_llama()
    add_token_gradients(model, EXAMPLES)
    parts = [full_logits_loss(reference, e) * e.response_tokens for e in EXAMPLES]
    tokens = sum(e.response_tokens for e in EXAMPLES)
    torch.autograd.backward(torch.stack(parts).sum() / tokens)
    for parameter, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-4, atol=1e-6)


def test_steps_go_down_and_the_rate_falls_to_zero() -> None:
    # AdamW under a constant gradient moves by the rate itself: 0.5, 0.375, 0.25, 0.125.
    number = nn.Parameter(torch.tensor([1.0]))

    def constant(step: int) -> None:
        number.grad = torch.tensor([0.3])

    descend([number], SETTINGS, 4, constant, nothing)
    assert number.item() == pytest.approx(1 - (0.5 + 0.375 + 0.25 + 0.125), abs=1e-5)
    assert number.grad is None


def test_a_gradient_that_is_not_finite_stops_the_training() -> None:
    number = nn.Parameter(torch.tensor([1.0]))

    def broken(step: int) -> None:
        number.grad = torch.tensor([float("nan") if step == 1 else 1.0])

    with pytest.raises(UserError, match="step 2 is not finite"):
        descend([number], SETTINGS, 4, broken, nothing)


def test_batches_hold_every_row_once_an_epoch() -> None:
    batches = step_batches(EXAMPLES, SETTINGS)
    assert [len(batch) for batch in batches] == [4, 4, 4, 2]
    rows = [example.row for batch in batches for example in batch]
    assert sorted(rows[:7]) == sorted(rows[7:]) == list(range(7))


def test_every_round_has_an_order_of_its_own() -> None:
    found = list(islice(rounds(EXAMPLES, SETTINGS), 3))
    orders = [[example.row for batch in batches for example in batch] for batches in found]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert [len(batch) for batch in found[0]] == [4, 3]
